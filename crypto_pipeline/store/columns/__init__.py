"""Rows as numpy columns on PostgreSQL's binary wire, and as Polars frames; which of two copies of a bar wins.

Nothing here opens a connection.
"""
