"""Kraken spot: REST and streams."""
