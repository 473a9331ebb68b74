"""A server that speaks Massive's REST protocol: stocks with sessions, splits, dividends, renames and delistings.

``tape`` says what a stock market is, ``recorded`` reads one from LEAN's files, ``generated`` makes one from a seed,
``server`` answers over both. It knows keys, plans, pages and limits, and nothing of the client.
"""
