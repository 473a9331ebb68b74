"""Macro series: what they are called, vintages of their values and when each was known, releases that are due (pure).

Here belongs what follows from observations and dates alone. Not here: FRED's protocol (venues), tables (store), when a
series is asked for (healing).
"""
