"""Coinbase Exchange: REST (products, candles, trades by id) and the streams of matches and heartbeats."""
