"""One process's way to PostgreSQL: URLs, pool, retry rule, migrations, instrument ids, the market's clock.

Nothing here knows a table of bars, trades, features or labels.
"""
