"""Dagster's own processes and storage as this deployment runs them: code server, webserver, daemon, event log, runs.

The definitions themselves are in ``defs``.
"""
