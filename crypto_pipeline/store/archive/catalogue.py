"""The catalogue of the archive: the Parquet files of each span, and the status of each file.

A file is ``written`` before its first byte is stored, ``verified`` once it was read back, ``current`` from the
transaction that removes its rows from the table, and ``retired`` when another file replaces it or it has expired. Only
current files are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from crypto_pipeline.market.timeframes import Timeframe, require_utc

Kind = Literal["bars", "revisions", "trades"]

_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)

_COLUMNS = """
archive_id, kind, timeframe, first_open, end_open, base_url, path, rows, bytes, sha256, min_open_time, max_open_time,
sums, made_from, status, created_at, verified_at
"""


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One Parquet file of ``kind`` for the span ``[first_open, end_open)`` of open times (for trades: of trade times).

    ``timeframe`` is None for trades. Times are in UTC; ``min_open_time`` and ``max_open_time`` are None for an empty
    file. ``sums`` has the sum of each column, ``made_from`` the fingerprint of the rows from which the file was made.
    """

    archive_id: int
    kind: str
    timeframe: Timeframe | None
    first_open: datetime
    end_open: datetime
    base_url: str
    path: str
    rows: int
    bytes: int
    sha256: str
    min_open_time: datetime | None
    max_open_time: datetime | None
    sums: Mapping[str, float]
    made_from: str
    status: str
    created_at: datetime
    verified_at: datetime | None

    @property
    def url(self) -> str:
        """URL of the file."""
        return f"{self.base_url.rstrip('/')}/{self.path}"


def find(
    connection: psycopg.Connection[Any],
    kind: Kind | None = None,
    timeframe: Timeframe | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    statuses: tuple[str, ...] = ("current",),
) -> list[ArchiveFile]:
    """Files whose span overlaps ``[start, end)``, sorted by kind, timeframe and time. None is unbounded; times are
    aware.
    """
    query = f"""
        SELECT {_COLUMNS} FROM market.archive_files
        WHERE status = ANY(%(statuses)s) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
          AND (%(timeframe)s::text IS NULL OR timeframe = %(timeframe)s)
          AND end_open > %(start)s AND first_open < %(end)s
        ORDER BY kind, timeframe, first_open, archive_id
    """  # noqa: S608  (constants only)
    values = {
        "statuses": list(statuses),
        "kind": kind,
        "timeframe": str(timeframe) if timeframe is not None else None,
        "start": require_utc(start) if start is not None else _FIRST,
        "end": require_utc(end) if end is not None else _LAST,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        return [_file(row) for row in cursor.execute(query, values)]


def add(connection: psycopg.Connection[Any], file: Mapping[str, Any]) -> int:
    """Catalogue a file that will be stored (status ``written``); return its number."""
    row = connection.execute(
        """
        INSERT INTO market.archive_files (kind, timeframe, first_open, end_open, base_url, path, rows, bytes, sha256,
            min_open_time, max_open_time, sums, made_from)
        VALUES (%(kind)s, %(timeframe)s, %(first_open)s, %(end_open)s, %(base_url)s, %(path)s, %(rows)s, %(bytes)s,
            %(sha256)s, %(min_open_time)s, %(max_open_time)s, %(sums)s, %(made_from)s)
        RETURNING archive_id
        """,
        {**file, "sums": Jsonb(file["sums"])},
    ).fetchone()
    assert row is not None
    return int(row[0])


def _file(row: dict[str, Any]) -> ArchiveFile:
    return ArchiveFile(**{**row, "timeframe": Timeframe(row["timeframe"]) if row["timeframe"] else None})


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
