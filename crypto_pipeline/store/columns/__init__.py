"""Rows as numpy columns on PostgreSQL's binary wire, and as Polars frames; which of two copies of a bar is better.

Here belong layouts and conversions without I/O. Statements do not, and nothing here opens a connection.
"""
