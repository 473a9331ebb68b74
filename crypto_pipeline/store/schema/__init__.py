"""The schema: how migrations are applied, and the tables that SQLAlchemy Core uses.

The tables themselves are made by the files in ``sql/``. Statements belong to the room of their table.
"""
