"""What Iceberg tables need of the database: the files that belong in them, and the record of files that they list.

The tables themselves, and pyiceberg, are in ``lake.iceberg``.
"""
