"""The archive: closed months of bars and days of trades as Parquet files, from the tables and back.

Export, verification, the catalogue of files, the object store, repair, restore and retention belong here. ``reads``
decides which rows a reader gets if both table and file have them.
"""
