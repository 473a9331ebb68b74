"""Dagster's own processes and storage in this deployment: code server, webserver, daemon, event log, runs.

The definitions themselves are in ``defs``.
"""
