"""The catalogue of the mirror (schema ``lake``): its files, the days in them with their versions, and what is stale.

Statements and the rows that go into files belong here. Writing, verifying and removing files is in ``lake.mirror``.
"""
