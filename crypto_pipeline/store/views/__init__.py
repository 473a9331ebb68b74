"""The materialized views for people and tools that query SQL: refreshed beside the ones in use, and compared.

Reads of the package never use them.
"""
