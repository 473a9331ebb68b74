"""Macro series: which are due, how they are fetched and stored, and their checks."""
