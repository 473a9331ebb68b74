"""Pictures as PNG bytes, for run metadata and reports."""
