"""FRED and ALFRED, of the Federal Reserve Bank of St. Louis: macro series with vintages, and release calendars."""
