"""The record of the files that snapshots of Iceberg tables list: mirror and archive keep them that long.

A file is recorded before a snapshot lists it, and forgotten after no snapshot does. So the record may have a file too
many after a kill, and never one too few.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from crypto_pipeline.store.iceberg.lake_files import LakeFile

_RECORD = """
INSERT INTO iceberg.listed_files (base_url, path, table_name)
SELECT u.base_url, u.path, %(table)s FROM unnest(%(urls)s::text[], %(paths)s::text[]) AS u (base_url, path)
ORDER BY 1, 2 ON CONFLICT DO NOTHING
"""
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


def listed(connection: psycopg.Connection[Any], table: str) -> list[tuple[str, str]]:
    """Base URL and path of each recorded file of ``table``."""
    return connection.execute(_OF_TABLE, [table]).fetchall()


def forget(connection: psycopg.Connection[Any], table: str, places: Sequence[tuple[str, str]]) -> None:
    """Forget files (base URL and path) that no snapshot of ``table`` lists any more."""
    connection.execute(_FORGET, _values(table, places))


def _values(table: str, places: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {"table": table, "urls": [url for url, _ in places], "paths": [path for _, path in places]}
