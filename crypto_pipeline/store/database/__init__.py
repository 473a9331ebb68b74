"""A process's access to PostgreSQL: URLs, pool, retry rule, instrument ids, the market's clock.

Nothing here uses tables of bars, trades, features or labels.
"""
