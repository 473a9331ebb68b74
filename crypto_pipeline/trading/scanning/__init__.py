"""The scanner: of every closed bar, instrument and strategy, whether there is a setup, and if not, why not. Pure.

Setups are judged by the conditions from which labels find them (``labels.strategies``), so scanner and labels agree.
"""
