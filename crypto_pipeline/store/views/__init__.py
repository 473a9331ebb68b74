"""The materialized views for people and tools that use SQL: their refresh, and their comparison with the tables.

The package's own reads never use them.
"""
