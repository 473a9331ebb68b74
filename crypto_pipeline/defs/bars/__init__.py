"""Bars: instruments → 1m → 5m → … → 1w and the coverage of it all, with what keeps them right."""
