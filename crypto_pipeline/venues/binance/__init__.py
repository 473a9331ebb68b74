"""Binance spot: REST, the file archive of past months and days, streams. The replay exchange has the same interface."""
