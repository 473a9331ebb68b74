"""Rows as numpy columns on PostgreSQL's binary wire, and as Polars frames; ``best_copy`` applies the precedence of
``market`` to them.

Here belong layouts and conversions without I/O. Statements do not, and nothing here opens a connection.
"""
