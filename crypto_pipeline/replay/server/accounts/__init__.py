"""Binance's signed order API over the tape: accounts behind keys, their orders, and the user data stream."""
