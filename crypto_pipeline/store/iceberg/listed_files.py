"""The record of the files that snapshots of Iceberg tables list: mirror and archive keep them that long.

A file is recorded before a snapshot lists it, and forgotten after no snapshot does. So the record may have a file too
many after a kill, and never one too few.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import psycopg

from crypto_pipeline.store.iceberg.lake_files import FILES, LakeFile

_RECORD = """
INSERT INTO iceberg.listed_files (base_url, path, table_name)
SELECT u.base_url, u.path, %(table)s FROM unnest(%(urls)s::text[], %(paths)s::text[]) AS u (base_url, path)
ORDER BY 1, 2 ON CONFLICT DO NOTHING
"""
_MARK = """
UPDATE iceberg.listed_files l
SET listed_at = CASE WHEN u.path IS NULL THEN l.listed_at ELSE coalesce(l.listed_at, clock_timestamp()) END,
    left_at = CASE WHEN u.path IS NULL THEN coalesce(l.left_at, clock_timestamp()) END
FROM iceberg.listed_files o
LEFT JOIN unnest(%(urls)s::text[], %(paths)s::text[]) AS u (base_url, path)
    ON u.base_url = o.base_url AND u.path = o.path
WHERE o.table_name = %(table)s AND (l.base_url, l.path, l.table_name) = (o.base_url, o.path, o.table_name)
  AND CASE WHEN u.path IS NULL THEN l.left_at IS NULL ELSE l.listed_at IS NULL OR l.left_at IS NOT NULL END
"""
# Files to list, files to leave out, and files that no snapshot needs any more.
_PENDING = f"""
SELECT count(*) FROM (SELECT base_url, path FROM ({FILES}) f WHERE held = rows) f
FULL JOIN iceberg.listed_files l ON l.base_url = f.base_url AND l.path = f.path
WHERE l.path IS NULL OR l.listed_at IS NULL OR (f.path IS NULL) = (l.left_at IS NULL)
   OR l.left_at < clock_timestamp() - %s
"""  # noqa: S608  (constants only)
_FORGET = """
DELETE FROM iceberg.listed_files l
USING unnest(%(urls)s::text[], %(paths)s::text[]) AS u (base_url, path)
WHERE l.table_name = %(table)s AND l.base_url = u.base_url AND l.path = u.path
"""
_OF_TABLE = "SELECT base_url, path FROM iceberg.listed_files WHERE table_name = %s ORDER BY 1, 2"


def record(connection: psycopg.Connection[Any], table: str, files: Iterable[LakeFile]) -> None:
    """Record files that snapshots of ``table`` are about to list."""
    places = [(file.base_url, file.path) for file in files]
    connection.execute(_RECORD, _values(table, places))


def mark(connection: psycopg.Connection[Any], table: str, present: Iterable[tuple[str, str]]) -> None:
    """Mark which recorded files (base URL and path) the present snapshot of ``table`` lists, and which left it."""
    connection.execute(_MARK, _values(table, list(present)))


def pending(connection: psycopg.Connection[Any], keep: timedelta) -> int:
    """Number of files that tables do not list and should, list and should not, or have not let go after ``keep``."""
    row = connection.execute(_PENDING, [keep]).fetchone()
    assert row is not None
    return int(row[0])


def count(connection: psycopg.Connection[Any]) -> int:
    """Number of recorded files of all tables."""
    row = connection.execute("SELECT count(*) FROM iceberg.listed_files").fetchone()
    assert row is not None
    return int(row[0])


def listed(connection: psycopg.Connection[Any], table: str) -> list[tuple[str, str]]:
    """Base URL and path of each recorded file of ``table``."""
    return connection.execute(_OF_TABLE, [table]).fetchall()


def forget(connection: psycopg.Connection[Any], table: str, places: Sequence[tuple[str, str]]) -> None:
    """Forget files (base URL and path) that no snapshot of ``table`` lists any more."""
    connection.execute(_FORGET, _values(table, places))


def forget_tables(connection: psycopg.Connection[Any]) -> None:
    """Forget all tables and what they list, without touching a file: for the copy of a database."""
    connection.execute("DELETE FROM iceberg.iceberg_tables")
    connection.execute("DELETE FROM iceberg.listed_files")


def _values(table: str, places: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {"table": table, "urls": [url for url, _ in places], "paths": [path for _, path in places]}
