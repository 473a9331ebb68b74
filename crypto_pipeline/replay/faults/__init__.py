"""Faults of requests, rows, connections and stream messages, on demand."""
