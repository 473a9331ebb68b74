"""The materialized views for people and tools: refreshed beside themselves, and proven."""
