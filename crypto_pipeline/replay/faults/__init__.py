"""What can go wrong: faults of requests, rows, connections and stream messages, on demand."""
