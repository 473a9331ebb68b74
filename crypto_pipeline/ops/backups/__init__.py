"""Backups while everything runs, their files on disk, and restoring from them."""
