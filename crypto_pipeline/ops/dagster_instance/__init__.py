"""Dagster's own processes and storage as this deployment runs them."""
