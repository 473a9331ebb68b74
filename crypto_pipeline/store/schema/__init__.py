"""The schema: the application of migrations, and the tables for SQLAlchemy Core.

The files in ``sql/`` make the tables. Statements belong to the package of their table.
"""
