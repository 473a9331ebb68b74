"""Finding and repairing holes while ingest runs: watching ids, asking REST, merging its answers, reading back."""
