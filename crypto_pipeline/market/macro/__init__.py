"""Macro series: names, vintages of values with the time from which each was public, expected releases (pure).

Here belong computations on observations and dates. Not here: FRED's protocol (venues), tables (store), requests
(healing).
"""
