"""A market database that keeps itself right."""
