"""Materialized views for people and tools that query SQL by name."""
