"""Trades to minute bars in memory: trade ids, minute state, forming bars, and the decision when a bar is written."""
