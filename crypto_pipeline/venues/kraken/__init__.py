"""Kraken spot: REST (the newest 720 bars, trades by time), WebSocket v2, and v1 for recorded sessions."""
