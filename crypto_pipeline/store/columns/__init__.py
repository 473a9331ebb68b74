"""Rows as numpy columns on PostgreSQL's binary wire, and as Polars frames; ``best_copy`` applies the precedence of
``market`` to them.

Layouts and conversions without I/O belong here. Statements do not, and nothing here opens a connection.
"""
