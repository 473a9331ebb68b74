"""Writing trades and live prices, trades that are refused, and stored trades as a source of bars.

Reading trades for people belongs to ``reads``, moving them into files to ``archive``.
"""
