"""Bytes and connections: stream frames, one connection's state, a bounded cache."""
