"""The mirror in ClickHouse, run on the chdb engine."""
