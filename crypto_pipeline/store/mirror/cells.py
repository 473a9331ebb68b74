"""Cells of the mirror: what there is to mirror, which files are due, and which days left their tables.

A cell is an instrument's day of one series. It is mirrored once it is over, and complete or older than a day, unless
its rows are archived. It is stale if its version or its number of rows is not that of its file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.store.mirror.catalogue import SCHEMA_VERSION
from crypto_pipeline.store.mirror.datasets import FileSpan, MirrorSeries
from crypto_pipeline.store.mirror.looks import LABELS_WAIT, MirrorLook, MirrorMoment

#: Schema of ``cells``.
MIRROR_CELLS: dict[str, pl.DataType] = {
    "instrument_id": pl.Int32(),
    "day": pl.Date(),
    "version": pl.Int64(),
    "rows": pl.Int32(),
}

# Each: the cells of a series that have rows in their table, and whether each is ready. ``today`` is the UTC day now,
# ``settled`` the day a day ago. ``only`` is empty, or chooses cells.
_CELLS = {
    "bars": """
        SELECT instrument_id, day, data_version AS version, present AS rows,
               day + %(cell_days)s <= %(today)s AND (final OR day + %(cell_days)s <= %(settled)s) AS ready
        FROM market.coverage {only}
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
        FROM research.feature_cells {only} WHERE rows > 0
    """,
    "labels": """
        SELECT instrument_id, day, label_version AS version, labels AS rows,
               day + 1 <= %(today)s AND (waiting = 0 OR day + %(labels_wait)s <= %(today)s) AS ready
        FROM research.label_cells {only}
        WHERE strategy = split_part(%(series)s, '/', 1) AND params_hash = split_part(%(series)s, '/', 2) AND labels > 0
    """,
}
# The cells that a look is at: of late versions, and of the newest days. OFFSET 0 keeps the first apart: the planner
# would else read all days of the series by the key.
_TOUCHED = """
touched AS MATERIALIZED (
    SELECT instrument_id, day
    FROM (SELECT * FROM {table} WHERE {version} > %(above)s OFFSET 0) changed WHERE {of_series}
    UNION
    SELECT newest.instrument_id, newest.day FROM market.instruments i CROSS JOIN LATERAL (
        SELECT instrument_id, day FROM {table}
        WHERE instrument_id = i.instrument_id AND day >= %(since)s AND {of_series}
    ) newest
)
"""
_SOURCES = {
    "bars": ("market.coverage", "data_version", "timeframe = %(series)s"),
    "features": ("research.feature_cells", "feature_version", "true"),
    "labels": (
        "research.label_cells", "label_version",
        "strategy = split_part(%(series)s, '/', 1) AND params_hash = split_part(%(series)s, '/', 2)",
    ),
}  # fmt: skip
_ONLY_TOUCHED = "JOIN touched USING (instrument_id, day)"
# The file in which a cell belongs. Files of closed weeks, months and years are made once these are settled. The weeks
# of a month have eight days, the last one up to its end.
_PLACED = """
SELECT c.*, CASE WHEN %(grain)s = 'alone' AND month_end <= %(settled)s THEN instrument_id END AS alone,
    CASE WHEN %(grain)s = 'year' AND year_end <= %(settled)s THEN year
         WHEN %(grain)s IN ('month', 'year') OR month_end <= %(settled)s THEN month
         WHEN week_end <= %(settled)s THEN week ELSE day END AS first_day,
    CASE WHEN %(grain)s = 'year' AND year_end <= %(settled)s THEN year_end
         WHEN %(grain)s IN ('month', 'year') OR month_end <= %(settled)s THEN month_end
         WHEN week_end <= %(settled)s THEN week_end ELSE day + 1 END AS end_day
FROM (
    SELECT c.*, month + (day - month) / 8 * 8 AS week,
           CASE WHEN day - month < 24 THEN month + (day - month) / 8 * 8 + 8 ELSE month_end END AS week_end
    FROM (
        SELECT c.*, date_trunc('month', day)::date AS month,
               (date_trunc('month', day) + interval '1 month')::date AS month_end,
               date_trunc('year', day)::date AS year, (date_trunc('year', day) + interval '1 year')::date AS year_end
        FROM ({cells}) c
    ) c
) c
"""
# A file of which some days have left their table is made again without them, so that engines may list it as a whole.
_DUE = """
placed AS MATERIALIZED (
    SELECT p.*, d.file_id, d.version AS held, d.rows AS held_rows FROM ({placed}) p
    LEFT JOIN lake.days d ON d.dataset = %(dataset)s AND d.series = %(series)s
        AND d.instrument_id = p.instrument_id AND d.day = p.day
    WHERE p.ready
), used AS MATERIALIZED (
    SELECT file_id, sum(rows) AS rows FROM lake.days
    WHERE file_id IN (SELECT DISTINCT file_id FROM placed WHERE file_id IS NOT NULL) GROUP BY 1
)
SELECT p.alone, p.first_day, p.end_day, count(*) AS cells, sum(p.rows)::bigint AS rows
FROM placed p
LEFT JOIN lake.files f ON f.file_id = p.file_id
LEFT JOIN used ON used.file_id = p.file_id
WHERE p.file_id IS NULL OR p.held <> p.version OR p.held_rows <> p.rows OR f.base_url <> %(base_url)s
    OR f.schema_version <> %(schema_version)s OR f.instrument_id IS DISTINCT FROM p.alone
    OR f.first_day <> p.first_day OR f.end_day <> p.end_day OR f.rows <> used.rows
GROUP BY 1, 2, 3 ORDER BY 2 DESC, 1
"""
_WITHIN = """
SELECT instrument_id, day, version, rows FROM ({cells}) c
WHERE ready AND day >= %(first_day)s AND day < %(end_day)s
  AND (%(instrument_id)s::int IS NULL OR instrument_id = %(instrument_id)s)
ORDER BY instrument_id, day
"""
_GONE = """
DELETE FROM lake.days d {using}
WHERE d.dataset = %(dataset)s AND d.series = %(series)s AND {chosen} AND NOT EXISTS (
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


def label_series(connection: psycopg.Connection[Any]) -> list[MirrorSeries]:
    """The series of labels that have some."""
    return [MirrorSeries("labels", series) for (series,) in connection.execute(_LABEL_SERIES)]


def due(
    connection: psycopg.Connection[Any], of: MirrorSeries, moment: MirrorMoment, look: MirrorLook | None = None
) -> list[DueFile]:
    """The files of a series that are to be made, newest days first; with ``look`` those of the cells it is at."""
    partial = look is not None and look.since is not None
    cells = _CELLS[of.dataset].format(only=_ONLY_TOUCHED if partial else "")
    parts = [_touched(of)] if partial else []
    query = "WITH " + ", ".join([*parts, _DUE.format(placed=_PLACED.format(cells=cells))])
    values = _values(of, moment, look)
    if partial:
        _by_index(connection)
    rows = connection.execute(query, values).fetchall()
    return [DueFile(FileSpan(of, alone, first, end), cells, count) for alone, first, end, cells, count in rows]


def within(connection: psycopg.Connection[Any], span: FileSpan, moment: MirrorMoment) -> pl.DataFrame:
    """The ready cells of a file as they are now, in MIRROR_CELLS, sorted."""
    values = _values(span.of, moment) | {
        "first_day": span.first_day,
        "end_day": span.end_day,
        "instrument_id": span.instrument_id,
    }
    rows = connection.execute(_WITHIN.format(cells=_CELLS[span.of.dataset].format(only="")), values).fetchall()
    return pl.DataFrame(rows, schema=MIRROR_CELLS, orient="row")


def remove_gone(
    connection: psycopg.Connection[Any], of: MirrorSeries, moment: MirrorMoment, look: MirrorLook | None = None
) -> int:
    """Remove days whose rows are archived or no longer stored; return their number. With ``look`` of its cells."""
    cells = _CELLS[of.dataset].format(only="")
    if look is None or look.since is None:
        query = _GONE.format(cells=cells, using="", chosen="true")
        return connection.execute(query, _values(of, moment)).rowcount
    chosen = "d.instrument_id = t.instrument_id AND d.day = t.day"
    query = f"WITH {_touched(of)} {_GONE.format(cells=cells, using='USING touched t', chosen=chosen)}"
    _by_index(connection)
    return connection.execute(query, _values(of, moment, look)).rowcount


def _touched(of: MirrorSeries) -> str:
    table, version, of_series = _SOURCES[of.dataset]
    return _TOUCHED.format(table=table, version=version, of_series=of_series)


def _by_index(connection: psycopg.Connection[Any]) -> None:
    """Let the statement find late versions by their index, which the planner takes for useless among mixed versions."""
    connection.execute("SET LOCAL enable_seqscan = off")


def _values(of: MirrorSeries, moment: MirrorMoment, look: MirrorLook | None = None) -> dict[str, Any]:
    """Parameters of statements about ``of``."""
    return {
        "dataset": of.dataset,
        "series": of.series,
        "cell_days": of.cell_days,
        "grain": of.grain,
        "today": moment.now.date(),
        "settled": moment.settled,
        "labels_wait": LABELS_WAIT,
        "base_url": moment.base_url,
        "schema_version": SCHEMA_VERSION,
        "above": None if look is None else look.above,
        "since": None if look is None else look.since,
    }
