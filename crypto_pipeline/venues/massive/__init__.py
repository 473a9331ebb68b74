"""Massive (formerly Polygon.io): stocks, and crypto pairs over several exchanges, with one key.

``rest`` is what the clients in ``stocks`` and ``crypto`` share, ``parse`` reads bodies, ``reference`` reads listings
and corporate actions, ``stream`` reads both streams, ``names`` translates tickers, ``conditions`` says which trades
count.
"""
