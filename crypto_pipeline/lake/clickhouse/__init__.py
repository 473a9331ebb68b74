"""A mirror of all bars in ClickHouse, for scans over many instruments and years. PostgreSQL stays the truth.

``engine`` opens a server or the chdb engine in this process, ``tables`` reads and writes the mirror, ``follow`` brings
it up to date by data versions, ``comparison`` holds it against PostgreSQL. Statements are in ``statements`` and in the
``.sql`` files beside it. clickhouse-connect is imported when a mirror is opened, not before.
"""
