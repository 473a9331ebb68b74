"""Comparisons of days with the venue's own bars: the compared data version, and the days that are due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.frames import copy_rows, named, numbered, require_columns
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.sessions.pooler import create_temporary

#: Schema of ``due``. ``changed``: never compared, or not since its bars changed; otherwise the last comparison is old.
DUE_SCHEMA: dict[str, pl.DataType] = {
    "instrument": pl.String(),
    "timeframe": pl.String(),
    "day": pl.Date(),
    "data_version": pl.Int64(),
    "present": pl.Int32(),
    "changed": pl.Boolean(),
    "updated_at": UTC_MS,
}
#: Schema of ``summary``.
SUMMARY_SCHEMA: dict[str, pl.DataType] = {
    "timeframe": pl.String(),
    "stored": pl.Int64(),
    "compared": pl.Int64(),
    "incomparable": pl.Int64(),
    "cells": pl.Int64(),
    "cells_compared": pl.Int64(),
    "disagreed": pl.Int64(),
    "first_day": pl.Date(),
    "last_day": pl.Date(),
    "oldest": UTC_MS,
    "newest": UTC_MS,
}

_DUE = """
SELECT c.instrument_id, c.timeframe, c.day, c.data_version, c.present, c.updated_at,
       m.instrument_id IS NULL OR m.venue <> $4 OR m.data_version <> c.data_version AS changed
FROM unnest($1::text[], $2::date[], $3::date[]) AS s (timeframe, first, until)
JOIN market.coverage c ON c.timeframe = s.timeframe AND c.day >= s.first AND c.day < s.until
JOIN market.instruments i ON i.instrument_id = c.instrument_id AND i.active AND (i.venue IS NULL OR i.venue = $4)
LEFT JOIN market.comparisons m
    ON m.instrument_id = c.instrument_id AND m.timeframe = c.timeframe AND m.day = c.day
WHERE c.present > 0
  AND (m.instrument_id IS NULL OR m.venue <> $4 OR m.data_version <> c.data_version
       OR m.compared_at < $5::timestamptz
       OR (m.disagreed > 0 OR (m.compared = 0 AND m.stored > 0)) AND m.compared_at < $6::timestamptz)
"""

# A comparison of bars that have changed since does not count for the stored bars.
_SUMMARY = """
SELECT c.timeframe, sum(c.present)::bigint AS stored,
       coalesce(sum(least(coalesce(m.compared, 0), c.present)), 0)::bigint AS compared,
       coalesce(sum(greatest(c.present - m.stored, 0)), 0)::bigint AS incomparable,
       count(*) AS cells, count(m.day) AS cells_compared, coalesce(sum(m.disagreed), 0)::bigint AS disagreed,
       min(m.day) AS first_day, max(m.day) AS last_day, min(m.compared_at) AS oldest, max(m.compared_at) AS newest
FROM market.coverage c
JOIN market.instruments i ON i.instrument_id = c.instrument_id AND i.active AND (i.venue IS NULL OR i.venue = $1)
LEFT JOIN market.comparisons m
    ON m.instrument_id = c.instrument_id AND m.timeframe = c.timeframe AND m.day = c.day
   AND m.data_version = c.data_version AND m.venue = $1
WHERE c.timeframe = ANY($3) AND c.present > 0
  AND c.day + CASE WHEN c.timeframe = '1w' THEN 7 ELSE 1 END <= $2::date
GROUP BY c.timeframe
"""

_WITHIN = """
SELECT coalesce(sum(m.compared), 0)::bigint
FROM market.comparisons m JOIN market.instruments i ON i.instrument_id = m.instrument_id AND i.active
WHERE m.venue = %s AND m.timeframe = %s AND m.day >= %s AND m.day < %s
"""

_INCOMING = """
CREATE TEMP TABLE IF NOT EXISTS compared_cells
    (instrument_id int, timeframe text, day date, data_version bigint, stored int, compared int, disagreed int)
ON COMMIT {end}
"""

_RECORD = """
INSERT INTO market.comparisons AS m
    (instrument_id, timeframe, day, data_version, stored, compared, disagreed, venue, compared_at)
SELECT instrument_id, timeframe, day, data_version, stored, compared, disagreed, %s, %s
FROM pg_temp.compared_cells ORDER BY instrument_id, timeframe COLLATE "C", day
ON CONFLICT (instrument_id, timeframe, day) DO UPDATE SET
    data_version = excluded.data_version, stored = excluded.stored, compared = excluded.compared,
    disagreed = excluded.disagreed, venue = excluded.venue, compared_at = excluded.compared_at
"""


class Comparisons:
    """Reads and writes ``market.comparisons``, which has ended days only. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def due(
        self,
        venue: str,
        spans: Mapping[Timeframe, tuple[datetime, datetime]],
        now: datetime,
        again: timedelta,
        disputed_again: timedelta,
    ) -> pl.DataFrame:
        """Cells of active instruments to compare with ``venue`` now, in DUE_SCHEMA.

        A cell is due if it was never compared, if its bars changed since, if its last comparison is older than
        ``again``, or older than ``disputed_again`` and found differences or nothing to compare. Only cells that
        begin in a timeframe's span in ``spans`` (whole days, UTC).
        """
        values: list[Any] = [
            [str(timeframe) for timeframe in spans],
            [start.date() for start, _ in spans.values()],
            [end.date() for _, end in spans.values()],
            venue,
            now - again,
            now - disputed_again,
        ]
        if not spans:
            return pl.DataFrame(schema=DUE_SCHEMA)
        ids = {symbol: number for number, symbol in self._symbols.names().items()}
        answer = named(self._connections.frame(_DUE, values), ids)
        return answer.select(pl.col(name).cast(kind) for name, kind in DUE_SCHEMA.items())

    def record(self, cells: pl.DataFrame, venue: str, at: datetime) -> int:
        """Record that cells (``instrument``, ``timeframe``, ``day``, ``data_version``, ``stored``, ``compared``,
        ``disagreed``) were compared with ``venue`` at ``at`` (UTC). Return the number of cells."""
        columns = ["timeframe", "day", "data_version", "stored", "compared", "disagreed"]
        require_columns(cells, ["instrument", *columns], "a frame of comparisons")
        if cells.is_empty():
            return 0
        ids = self._symbols.ids(cells["instrument"].unique().to_list())
        rows = numbered(cells.select("instrument", *columns), ids).select("instrument_id", *columns)

        def work(connection: psycopg.Connection[Any]) -> int:
            create_temporary(connection, _INCOMING)
            copy_rows(connection, "compared_cells", rows)
            return connection.execute(_RECORD, [venue, at]).rowcount

        return self._connections.run(work)

    def summary(self, venue: str, now: datetime, timeframes: Sequence[Timeframe] = tuple(Timeframe)) -> pl.DataFrame:
        """Compared bars of ``venue``'s instruments of days ended by ``now``, for their current data versions, in
        SUMMARY_SCHEMA.

        ``stored``, ``compared`` and ``incomparable`` (of compared days) are numbers of bars, ``oldest`` and ``newest``
        times of comparisons (UTC).
        """
        answer = self._connections.frame(_SUMMARY, [venue, now.date(), [str(timeframe) for timeframe in timeframes]])
        order = pl.col("timeframe").cast(pl.Enum([str(timeframe) for timeframe in Timeframe]))
        return answer.select(pl.col(name).cast(kind) for name, kind in SUMMARY_SCHEMA.items()).sort(order)

    def within(self, venue: str, timeframe: Timeframe, start: datetime, end: datetime) -> int:
        """Number of bars of ``timeframe`` compared with ``venue``, in cells that begin in ``[start, end)``."""
        values = [venue, str(timeframe), start.date(), (end + timedelta(days=1, microseconds=-1)).date()]
        return int(self._connections.row(_WITHIN, values)[0])
