"""Closed days as Parquet beside the tables, for long reads and other engines. The tables stay the truth.

All of it may be thrown away and made again. Statements for PostgreSQL are in ``store.mirror``.
"""
