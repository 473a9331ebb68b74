"""Charts as PNG bytes, for run metadata and reports."""
