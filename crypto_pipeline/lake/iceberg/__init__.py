"""Iceberg tables over the files of mirror and archive, which any engine reads. Needs the extra ``iceberg``.

The files are listed as they are, never rewritten. A table follows the two catalogues by commits, each of which shows
readers all of a change or nothing of it. Modules here import pyiceberg: import them where they are used.
"""
