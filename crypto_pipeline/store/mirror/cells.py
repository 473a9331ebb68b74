"""Cells of the mirror: what there is to mirror, which files are due, and which days left their tables.

A cell is an instrument's day of one series. It is mirrored once it is over, and complete or older than a day, unless
its rows are archived. It is stale if its version or its number of rows is not that of its file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.store.mirror.catalogue import SCHEMA_VERSION
from crypto_pipeline.store.mirror.datasets import FileSpan, MirrorSeries

#: Schema of ``cells``.
MIRROR_CELLS: dict[str, pl.DataType] = {
    "instrument_id": pl.Int32(),
    "day": pl.Date(),
    "version": pl.Int64(),
    "rows": pl.Int32(),
}
#: Days after which labels that still wait for their horizon are mirrored.
_LABELS_WAIT = 14

# Each: the cells of a series that have rows in their table, and whether each is ready. ``today`` is the UTC day now,
# ``settled`` the day a day ago.
_CELLS = {
    "bars": """
        SELECT instrument_id, day, data_version AS version, present AS rows,
               day + %(cell_days)s <= %(today)s AND (final OR day + %(cell_days)s <= %(settled)s) AS ready
        FROM market.coverage
        WHERE timeframe = %(series)s AND present > 0 AND archived = 0 AND data_version > 0
          AND NOT EXISTS (
            SELECT FROM market.archive_files a
            WHERE a.status = 'current' AND a.kind = 'bars' AND a.timeframe = %(series)s
              AND (a.first_open AT TIME ZONE 'UTC')::date <= day AND (a.end_open AT TIME ZONE 'UTC')::date > day
          )
    """,
    "features": """
        SELECT instrument_id, day, feature_version AS version, rows,
               day + 1 <= %(today)s AND computed_from IS NOT NULL AS ready
        FROM research.feature_cells WHERE rows > 0
    """,
    "labels": """
        SELECT instrument_id, day, label_version AS version, labels AS rows,
               day + 1 <= %(today)s AND (waiting = 0 OR day + %(labels_wait)s <= %(today)s) AS ready
        FROM research.label_cells
        WHERE strategy = split_part(%(series)s, '/', 1) AND params_hash = split_part(%(series)s, '/', 2) AND labels > 0
    """,
}
# The file in which a cell belongs. Files of closed periods are made once the period is settled.
_PLACED = """
SELECT c.*, CASE WHEN %(grain)s = 'alone' AND month_end <= %(settled)s THEN instrument_id END AS alone,
    CASE WHEN %(grain)s = 'year' THEN date_trunc('year', day)::date
         WHEN %(grain)s = 'month' OR month_end <= %(settled)s THEN month ELSE day END AS first_day,
    CASE WHEN %(grain)s = 'year' THEN (date_trunc('year', day) + interval '1 year')::date
         WHEN %(grain)s = 'month' OR month_end <= %(settled)s THEN month_end ELSE day + 1 END AS end_day
FROM (
    SELECT c.*, date_trunc('month', day)::date AS month,
           (date_trunc('month', day) + interval '1 month')::date AS month_end
    FROM ({cells}) c
) c
"""
# A file of which some days have left their table is made again without them, so that engines may list it as a whole.
_DUE = """
SELECT p.alone, p.first_day, p.end_day, count(*) AS cells, sum(p.rows)::bigint AS rows
FROM ({placed}) p
LEFT JOIN lake.days d ON d.dataset = %(dataset)s AND d.series = %(series)s
    AND d.instrument_id = p.instrument_id AND d.day = p.day
LEFT JOIN lake.files f ON f.file_id = d.file_id
LEFT JOIN (
    SELECT file_id, sum(rows) AS rows FROM lake.days WHERE dataset = %(dataset)s AND series = %(series)s GROUP BY 1
) used ON used.file_id = d.file_id
WHERE p.ready AND (d.file_id IS NULL OR d.version <> p.version OR d.rows <> p.rows OR f.base_url <> %(base_url)s
    OR f.schema_version <> %(schema_version)s OR f.instrument_id IS DISTINCT FROM p.alone
    OR f.first_day <> p.first_day OR f.end_day <> p.end_day OR f.rows <> used.rows)
GROUP BY 1, 2, 3 ORDER BY 2 DESC, 1
"""
_WITHIN = """
SELECT instrument_id, day, version, rows FROM ({cells}) c
WHERE ready AND day >= %(first_day)s AND day < %(end_day)s
  AND (%(instrument_id)s::int IS NULL OR instrument_id = %(instrument_id)s)
ORDER BY instrument_id, day
"""
_GONE = """
DELETE FROM lake.days d
WHERE d.dataset = %(dataset)s AND d.series = %(series)s AND NOT EXISTS (
    SELECT FROM ({cells}) c WHERE c.instrument_id = d.instrument_id AND c.day = d.day
)
"""
_LABEL_SERIES = "SELECT DISTINCT strategy || '/' || params_hash FROM research.label_cells WHERE labels > 0 ORDER BY 1"


@dataclass(frozen=True, slots=True)
class DueFile:
    """A file that is to be made, and the number of cells and rows in it that are stale, new or in another file."""

    span: FileSpan
    cells: int
    rows: int


@dataclass(frozen=True, slots=True)
class MirrorMoment:
    """The moment (UTC, of the market) at which cells are ready, and where files are now stored."""

    now: datetime
    base_url: str

    def values(self, of: MirrorSeries) -> dict[str, Any]:
        """Parameters of statements about ``of``."""
        return {
            "dataset": of.dataset,
            "series": of.series,
            "cell_days": of.cell_days,
            "grain": of.grain,
            "today": self.now.date(),
            "settled": (self.now - timedelta(days=1)).date(),
            "labels_wait": _LABELS_WAIT,
            "base_url": self.base_url,
            "schema_version": SCHEMA_VERSION,
        }


def label_series(connection: psycopg.Connection[Any]) -> list[MirrorSeries]:
    """The series of labels that have some."""
    return [MirrorSeries("labels", series) for (series,) in connection.execute(_LABEL_SERIES)]


def due(connection: psycopg.Connection[Any], of: MirrorSeries, moment: MirrorMoment) -> list[DueFile]:
    """The files of a series that are to be made, newest days first."""
    query = _DUE.format(placed=_PLACED.format(cells=_CELLS[of.dataset]))
    rows = connection.execute(query, moment.values(of)).fetchall()
    return [DueFile(FileSpan(of, alone, first, end), cells, count) for alone, first, end, cells, count in rows]


def within(connection: psycopg.Connection[Any], span: FileSpan, moment: MirrorMoment) -> pl.DataFrame:
    """The ready cells of a file as they are now, in MIRROR_CELLS, sorted."""
    values = moment.values(span.of) | {
        "first_day": span.first_day,
        "end_day": span.end_day,
        "instrument_id": span.instrument_id,
    }
    rows = connection.execute(_WITHIN.format(cells=_CELLS[span.of.dataset]), values).fetchall()
    return pl.DataFrame(rows, schema=MIRROR_CELLS, orient="row")


def remove_gone(connection: psycopg.Connection[Any], of: MirrorSeries, moment: MirrorMoment) -> int:
    """Remove days whose rows are archived or no longer stored; return their number."""
    return connection.execute(_GONE.format(cells=_CELLS[of.dataset]), moment.values(of)).rowcount
