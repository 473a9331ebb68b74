"""The files of mirror and archive that belong in Iceberg tables, so that every bar is in one of them and in no two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

#: Statement: every current file, and how many of its rows are in no other file.
# A file of the mirror of which days have left, to another file or to the archive, would show their bars twice. It is
# not listed until the mirror has made it again. Files of the archive are of whole months.
FILES = """
WITH archived AS (
    SELECT kind, timeframe, (first_open AT TIME ZONE 'UTC')::date AS month, base_url, path, rows
    FROM market.archive_files WHERE status = 'current'
), held AS (
    SELECT d.file_id, sum(d.rows) AS rows
    FROM lake.days d
    LEFT JOIN archived a ON d.dataset = 'bars' AND a.kind = 'bars' AND a.timeframe = d.series
        AND a.month = date_trunc('month', d.day)::date
    WHERE a.kind IS NULL
    GROUP BY 1
)
SELECT kind, timeframe, base_url, path, rows, rows AS held FROM archived
UNION ALL
SELECT f.dataset, f.series, f.base_url, f.path, f.rows, coalesce(h.rows, 0)::bigint
FROM lake.files f LEFT JOIN held h ON h.file_id = f.file_id
WHERE f.status = 'current'
ORDER BY 1, 2, 4
"""
_COMMENTS = """
SELECT a.attname, col_description(a.attrelid, a.attnum) FROM pg_attribute a
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""


@dataclass(frozen=True, slots=True)
class LakeFile:
    """One current file of mirror or archive.

    ``kind``: bars, revisions, trades, features or labels; ``series``: the timeframe, of labels strategy/params_hash,
    of others empty. ``held`` of its ``rows`` are in no other file.
    """

    kind: str
    series: str
    base_url: str
    path: str
    rows: int
    held: int

    @property
    def url(self) -> str:
        """URL of the file."""
        return f"{self.base_url.rstrip('/')}/{self.path}"

    @property
    def whole(self) -> bool:
        """Whether all its rows are in no other file."""
        return self.held == self.rows


def lake_files(connection: psycopg.Connection[Any]) -> list[LakeFile]:
    """All current files, by kind, series and path, of one moment."""
    return [LakeFile(*row) for row in connection.execute(FILES)]


def column_comments(connection: psycopg.Connection[Any], table: str) -> dict[str, str]:
    """What the columns of a table (``market.ohlc_data``) hold, by name; of a table that is not there nothing."""
    return {name: text for name, text in connection.execute(_COMMENTS, [table]) if text}
