"""Disk space, retention, proofs of tables, and freeing room."""
