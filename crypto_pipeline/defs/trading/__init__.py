"""Trading in Dagster: scans, signals, trades, equity and shadow variants as assets, with their checks."""
