"""Comparing stored bars with the venue's own bars, in full and in rotation, and reconciling differences."""
