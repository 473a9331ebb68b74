"""Features of every 15m bar: one table, computed again where the bars below have changed."""
