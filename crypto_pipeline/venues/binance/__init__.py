"""Binance spot: REST, file archive and streams."""
