"""Disk space, retention, proofs of stored tables, and freeing disk space."""
