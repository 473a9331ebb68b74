"""Writing trades and live prices, refused trades, and stored trades as a source of bars.

Reading trades for people belongs to ``reads``, archiving them to ``archive``.
"""
