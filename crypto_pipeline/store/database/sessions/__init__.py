"""Sessions of PostgreSQL: directly or through a pooler, and locks that a session holds."""
