"""Long reads: closed days from the mirror's files, the rest from the tables, with the tables' own answer.

Choosing between file and table, reading files, and joining both belong here. What is fresh is told by
``store.mirror.freshness``; making files is in ``lake.mirror``.
"""
