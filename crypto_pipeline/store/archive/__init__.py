"""The archive: closed months of bars and days of trades as Parquet files, from the tables and back.

Here belong export, verification, the catalogue of files, the object store, repair, restore and retention. Which rows a
reader sees where both table and file have them is decided in ``reads``.
"""
