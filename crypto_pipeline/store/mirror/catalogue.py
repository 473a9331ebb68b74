"""The catalogue of the mirror's files, and the one transaction that switches days to a new file.

A file is ``written`` before its first byte is stored, ``verified`` once it was read back, ``current`` from the
transaction that switches days to it, and ``retired`` when no day is in it any more. A retired file is deleted after
``GRACE_SECONDS``, so that a reader that found it in the catalogue can still read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl
import psycopg
from psycopg.rows import class_row

from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.frames import copy_rows
from crypto_pipeline.store.database.sessions.pooler import create_temporary
from crypto_pipeline.store.mirror.datasets import FileSpan, MirrorSeries

#: Seconds for which a retired file stays, for readers that still read it.
GRACE_SECONDS = 3600
#: Rises with the columns or encodings of files; files of another version are made again.
SCHEMA_VERSION = 2

_COLUMNS = """
file_id, dataset, series, instrument_id, first_day, end_day, base_url, path, rows, bytes, sha256, schema_version,
newest_recorded_at, status, created_at, verified_at, current_at, retired_at, suspected_at, proven_at, fault
"""
_FIND = f"""
SELECT {_COLUMNS} FROM lake.files
WHERE status = ANY(%(statuses)s) AND (%(dataset)s::text IS NULL OR dataset = %(dataset)s)
  AND (%(series)s::text IS NULL OR series = %(series)s)
  AND end_day > coalesce(%(first)s::date, '-infinity') AND first_day < coalesce(%(until)s::date, 'infinity')
ORDER BY dataset, series, first_day, file_id
"""  # noqa: S608  (constants only)
_ADD = """
INSERT INTO lake.files (dataset, series, instrument_id, first_day, end_day, base_url, path, rows, bytes, sha256,
    schema_version, newest_recorded_at)
VALUES (%(dataset)s, %(series)s, %(instrument_id)s, %(first_day)s, %(end_day)s, %(base_url)s, %(path)s, %(rows)s,
    %(bytes)s, %(sha256)s, %(schema_version)s, %(newest_recorded_at)s)
RETURNING file_id
"""
_VERIFIED = """
UPDATE lake.files SET status = 'verified', verified_at = clock_timestamp() WHERE file_id = %s AND status = 'written'
"""
_CURRENT = """
UPDATE lake.files SET status = 'current', current_at = clock_timestamp() WHERE file_id = %s AND status = 'verified'
"""
_STAGE = """
CREATE TEMP TABLE IF NOT EXISTS mirrored_cells (instrument_id int, day date, version bigint, rows int) ON COMMIT {end}
"""
_LEAVE = """
DELETE FROM lake.days
WHERE dataset = %(dataset)s AND series = %(series)s AND day >= %(first_day)s AND day < %(end_day)s
  AND (%(instrument_id)s::int IS NULL OR instrument_id = %(instrument_id)s)
RETURNING file_id
"""
_ENTER = """
INSERT INTO lake.days (dataset, series, instrument_id, day, file_id, version, rows)
SELECT %(dataset)s, %(series)s, instrument_id, day, %(file_id)s, version, rows FROM pg_temp.mirrored_cells
ORDER BY instrument_id, day
"""
_RETIRE_EMPTY = """
UPDATE lake.files f SET status = 'retired', retired_at = clock_timestamp()
WHERE status = 'current' AND (%(files)s::bigint[] IS NULL OR file_id = ANY(%(files)s))
  AND NOT EXISTS (SELECT FROM lake.days d WHERE d.file_id = f.file_id)
"""
_ABANDON = """
UPDATE lake.files SET status = 'retired', retired_at = clock_timestamp() WHERE status IN ('written', 'verified')
"""
# a file that was never current was never read; a snapshot of an Iceberg table may need a file for longer
_REMOVABLE = f"""
SELECT {_COLUMNS} FROM lake.files f
WHERE status = 'retired' AND (current_at IS NULL OR retired_at < clock_timestamp() - make_interval(secs => %s))
  AND (retired_at < clock_timestamp() - interval '7 days' OR NOT EXISTS (
      SELECT FROM iceberg.listed_files l WHERE l.base_url = f.base_url AND l.path = f.path))
ORDER BY file_id
"""  # noqa: S608  (constants only)
# Its days go to the table in the same moment, and the next run looks at all days of the series.
_CONDEMN = """
WITH gone AS (DELETE FROM lake.days WHERE file_id = %(file)s), condemned AS (
    UPDATE lake.files SET status = 'retired', retired_at = clock_timestamp(), fault = %(fault)s
    WHERE file_id = %(file)s AND status = 'current' RETURNING dataset, series
)
SELECT lake.look_again(dataset, series) FROM condemned
"""
_PROVEN = "UPDATE lake.files SET proven_at = clock_timestamp(), suspected_at = NULL WHERE file_id = %s"
_PATHS = "SELECT path FROM lake.files WHERE base_url = %s"
_RETIRE_ALL = """
UPDATE lake.files SET status = 'retired', retired_at = clock_timestamp() WHERE status <> 'retired'
"""


@dataclass(frozen=True, slots=True)
class MirrorFile:
    """One Parquet file of the mirror: days ``[first_day, end_day)`` of ``instrument_id`` (None: of several).

    Times are aware. ``newest_recorded_at`` is when the newest change of its days was recorded (None: of features).
    ``fault`` says why it was taken out of use, ``suspected_at`` when a reader could not read it.
    """

    file_id: int
    dataset: str
    series: str
    instrument_id: int | None
    first_day: date
    end_day: date
    base_url: str
    path: str
    rows: int
    bytes: int
    sha256: str
    schema_version: int
    newest_recorded_at: datetime | None
    status: str
    created_at: datetime
    verified_at: datetime | None
    current_at: datetime | None
    retired_at: datetime | None
    suspected_at: datetime | None
    proven_at: datetime | None
    fault: str | None

    @property
    def url(self) -> str:
        """URL of the file."""
        return f"{self.base_url.rstrip('/')}/{self.path}"

    @property
    def of(self) -> MirrorSeries:
        """The series in it."""
        return MirrorSeries(self.dataset, self.series)  # type: ignore[arg-type]


def find(
    connection: psycopg.Connection[Any],
    of: MirrorSeries | None = None,
    first: date | None = None,
    until: date | None = None,
    statuses: Sequence[str] = ("current",),
) -> list[MirrorFile]:
    """Files whose span overlaps the days ``[first, until)``, by dataset, series and day. None is unbounded."""
    values = {
        "statuses": list(statuses),
        "dataset": of and of.dataset,
        "series": of and of.series,
        "first": first,
        "until": until,
    }
    return _files(connection, _FIND, values)


def by_number(connection: psycopg.Connection[Any], numbers: Sequence[int]) -> list[MirrorFile]:
    """The files with these numbers, in any status."""
    query = f"SELECT {_COLUMNS} FROM lake.files WHERE file_id = ANY(%s) ORDER BY file_id"  # noqa: S608  (constants only)
    return _files(connection, query, [list(numbers)])


def removable(connection: psycopg.Connection[Any], grace_seconds: float = GRACE_SECONDS) -> list[MirrorFile]:
    """Retired files that no reader can use any more."""
    return _files(connection, _REMOVABLE, [grace_seconds])


def _files(connection: psycopg.Connection[Any], query: str, values: Any) -> list[MirrorFile]:
    with connection.cursor(row_factory=class_row(MirrorFile)) as cursor:
        return cursor.execute(query, values).fetchall()


def add(
    connection: psycopg.Connection[Any],
    span: FileSpan,
    place: tuple[str, str],
    content: tuple[int, int, str, datetime | None],
) -> int:
    """Catalogue a file that will be stored at ``place`` (base URL, path); return its number.

    ``content``: rows, bytes, SHA-256, and when the newest change in it was recorded (aware).
    """
    rows, size, digest, newest = content
    values = _key(span) | {
        "base_url": place[0],
        "path": place[1],
        "rows": rows,
        "bytes": size,
        "sha256": digest,
        "schema_version": SCHEMA_VERSION,
        "newest_recorded_at": newest,
    }
    row = connection.execute(_ADD, values).fetchone()
    assert row is not None
    return int(row[0])


def mark_verified(connection: psycopg.Connection[Any], file_id: int) -> None:
    """Record that a written file was read back. Raises StoreError if another run has removed it."""
    _must_change(connection, _VERIFIED, file_id)


def switch(connection: psycopg.Connection[Any], span: FileSpan, file_id: int, cells: pl.DataFrame) -> None:
    """Make a verified file current, with the ``cells`` (``instrument_id``, ``day``, ``version``, ``rows``) in it.

    All other days of its span leave their files; files without days are retired. Raises StoreError if another run
    has removed the file.
    """
    _must_change(connection, _CURRENT, file_id)
    create_temporary(connection, _STAGE)
    copy_rows(connection, "mirrored_cells", cells.select("instrument_id", "day", "version", "rows"))
    left = {one for (one,) in connection.execute(_LEAVE, _key(span))}
    connection.execute(_ENTER, _key(span) | {"file_id": file_id})
    connection.execute(_RETIRE_EMPTY, {"files": sorted(left)})


def retire_empty(connection: psycopg.Connection[Any]) -> int:
    """Retire all current files without days; return their number."""
    return connection.execute(_RETIRE_EMPTY, {"files": None}).rowcount


def abandon(connection: psycopg.Connection[Any]) -> None:
    """Retire files that an interrupted run was storing; readers never used them."""
    connection.execute(_ABANDON)


def condemn(connection: psycopg.Connection[Any], file_id: int, fault: str) -> None:
    """Take a damaged or missing file out of use: its days are read from the table, and are due."""
    connection.execute(_CONDEMN, {"file": file_id, "fault": fault})


def note_proven(connection: psycopg.Connection[Any], file_id: int) -> None:
    """Record that all of a file was hashed and is as it was written."""
    connection.execute(_PROVEN, [file_id])


def paths(connection: psycopg.Connection[Any], base_url: str) -> set[str]:
    """Paths of all catalogued files below a URL, in any status."""
    return {path for (path,) in connection.execute(_PATHS, [base_url])}


def retire_all(connection: psycopg.Connection[Any]) -> int:
    """Take every file out of use; return their number. All reads go to the tables."""
    connection.execute("DELETE FROM lake.days")
    connection.execute("UPDATE lake.looks SET again = again + 1, market_time = NULL")
    return connection.execute(_RETIRE_ALL).rowcount


def owner(connection: psycopg.Connection[Any]) -> str:
    """The mark of this database in the folders of its mirror."""
    row = connection.execute("SELECT token FROM lake.owner").fetchone()
    assert row is not None
    return str(row[0])


def set_in_use(connection: psycopg.Connection[Any], in_use: bool) -> None:
    """Let all reads of this database use the mirror, or the tables alone."""
    connection.execute("UPDATE lake.owner SET in_use = %(in_use)s WHERE in_use <> %(in_use)s", {"in_use": in_use})


def is_in_use(connection: psycopg.Connection[Any]) -> bool:
    """Whether reads of this database use the mirror."""
    row = connection.execute("SELECT in_use FROM lake.owner").fetchone()
    assert row is not None
    return bool(row[0])


def disown(connection: psycopg.Connection[Any]) -> None:
    """Forget all files without deleting them, and become another owner: for the copy of a database."""
    connection.execute("DELETE FROM lake.days")
    connection.execute("DELETE FROM lake.looks")
    connection.execute("DELETE FROM lake.files")
    connection.execute("UPDATE lake.owner SET token = gen_random_uuid()::text")


def forget(connection: psycopg.Connection[Any], file_id: int) -> None:
    """Remove a deleted file from the catalogue."""
    connection.execute("DELETE FROM lake.files WHERE file_id = %s AND status = 'retired'", [file_id])


def _must_change(connection: psycopg.Connection[Any], statement: str, file_id: int) -> None:
    if connection.execute(statement, [file_id]).rowcount != 1:
        raise StoreError(f"file {file_id} of the mirror was removed while it was made: another run is active")


def _key(span: FileSpan) -> dict[str, Any]:
    return {
        "dataset": span.of.dataset,
        "series": span.of.series,
        "instrument_id": span.instrument_id,
        "first_day": span.first_day,
        "end_day": span.end_day,
    }
