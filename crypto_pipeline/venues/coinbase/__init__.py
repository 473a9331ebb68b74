"""Coinbase Exchange: REST and streams."""
