"""Reads of what belongs to bars besides them: stored features, and macro series."""
