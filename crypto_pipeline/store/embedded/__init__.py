"""The embedded PostgreSQL server: programs, data folder, configuration, start and stop.

Only ``store.database_url``, ``ops`` and ``cli`` use it. A deployment with its own server never starts it.
"""
