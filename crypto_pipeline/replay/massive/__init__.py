"""A server that speaks Massive's protocols, REST and websocket: stocks with sessions, splits, renames and delistings.

``tape`` says what a stock market is, ``recorded`` reads one from LEAN's files, ``generated`` makes one from a seed,
``server`` answers over both, ``streams`` sends what happens now, ``plans`` says what a key allows. It knows nothing of
the client.
"""
