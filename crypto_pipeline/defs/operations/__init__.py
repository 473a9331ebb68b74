"""Backups, storage, retention, proofs of tables, the run queue, and alerts of failed runs."""
