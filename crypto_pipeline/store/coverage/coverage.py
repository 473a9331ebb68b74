"""The coverage table: numbers of expected, present and explained bars per instrument, timeframe and day.

The writers of bars and ledger update the counters in their own transactions. This module reads them, and sets the
expected numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.coverage import unfinished
from crypto_pipeline.store.coverage.cell_versions import CellRange, Versions
from crypto_pipeline.store.database.frames import cell_bounds, copy_rows, named, numbered, require_columns
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.sessions.pooler import create_temporary

#: Schema of ``cells``. ``outside`` are stored bars of extended hours, which ``expected`` and ``present`` include.
CELL_SCHEMA: dict[str, pl.DataType] = {
    "instrument": pl.String(),
    "timeframe": pl.String(),
    "day": pl.Date(),
    "expected": pl.Int32(),
    "present": pl.Int32(),
    "explained": pl.Int32(),
    "archived": pl.Int32(),
    "outside": pl.Int32(),
    "final": pl.Boolean(),
    "data_version": pl.Int64(),
    "built_from": pl.Int64(),
}

_CELLS = """
SELECT instrument_id, day, expected, present, explained, archived, outside, final, data_version, built_from
FROM market.coverage
WHERE timeframe = $1 AND day BETWEEN $2 AND $3 AND instrument_id = ANY($4)
"""

_EXPECTED = """
CREATE TEMP TABLE IF NOT EXISTS expected_cells (instrument_id int, timeframe text, day date, expected int)
ON COMMIT {end}
"""

_SET_EXPECTED = (
    """
INSERT INTO market.coverage AS c (instrument_id, timeframe, day, expected)
SELECT instrument_id, timeframe, day, expected FROM pg_temp.expected_cells
ORDER BY instrument_id, timeframe COLLATE "C", day
"""
    + unfinished.ON_EXPECTED_AGAIN
)

# The sum and not the greatest version: versions are drawn before the commit, so a change with a lower version may
# become visible later, and the greatest would not show it. Versions only rise, so the sum changes with any of them.
_STALE = """
WITH below AS (
    SELECT instrument_id,
           CASE WHEN $5::int > 1 THEN day - (extract(isodow FROM day)::int - 1) ELSE day END AS day,
           sum(data_version)::bigint AS version
    FROM market.coverage
    WHERE timeframe = $2 AND day BETWEEN $3::date AND $4::date + ($5::int - 1)
      AND instrument_id = ANY($6) AND data_version > 0
    GROUP BY 1, 2
)
SELECT b.instrument_id, b.day, b.version AS built_from
FROM below b
LEFT JOIN market.coverage c ON c.instrument_id = b.instrument_id AND c.timeframe = $1 AND c.day = b.day
WHERE b.day BETWEEN $3::date AND $4::date AND c.built_from IS DISTINCT FROM b.version
"""

_SUMMARY = """
SELECT timeframe, count(*) AS cells, count(*) FILTER (WHERE final) AS final,
       sum(expected)::bigint AS expected, sum(present)::bigint AS present, sum(explained)::bigint AS explained,
       sum(greatest(expected - present - explained, 0))::bigint AS missing,
       count(DISTINCT instrument_id) FILTER (WHERE present > 0) AS instruments,
       min(day) AS first_day, max(day) AS last_day
FROM market.coverage JOIN market.instruments USING (instrument_id)
WHERE active AND ($1::text IS NULL OR venue IS NULL OR venue = $1)
GROUP BY timeframe
"""

_NEWEST = """
SELECT t.timeframe, max(l.open_time) AS newest
FROM unnest($1::text[]) AS t (timeframe)
CROSS JOIN market.instruments i
CROSS JOIN LATERAL (
    SELECT b.open_time FROM market.ohlc_data b
    WHERE b.instrument_id = i.instrument_id AND b.timeframe = t.timeframe
    ORDER BY b.open_time DESC LIMIT 1
) AS l
WHERE i.active AND ($2::text IS NULL OR i.venue IS NULL OR i.venue = $2)
GROUP BY t.timeframe
"""


_UNTOUCHED = """
SELECT instrument_id, day, expected, present, explained
FROM market.coverage c JOIN market.instruments i USING (instrument_id)
WHERE active AND timeframe = $1 AND day BETWEEN $2 AND $3 AND expected > 0 AND present + explained + archived = 0
  AND c.updated_at < now() - $4::interval
  AND NOT EXISTS (SELECT FROM market.gaps g WHERE g.instrument_id = c.instrument_id AND g.timeframe = c.timeframe
      AND closed_at IS NULL AND start_time < (c.day + $5::int)::timestamp AT TIME ZONE 'UTC'
      AND end_time > c.day::timestamp AT TIME ZONE 'UTC')
"""


class Coverage:
    """Reads coverage and sets expected numbers. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols
        self._versions = Versions(connections)

    def cells(
        self,
        timeframes: Sequence[Timeframe],
        start: datetime | None,
        end: datetime | None,
        instruments: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Cells that overlap ``[start, end)``, in CELL_SCHEMA, sorted by timeframe (as given), instrument and day.

        Default: the cells of all collected instruments.
        """
        ids = self._ids(instruments)
        parts = [pl.DataFrame(schema=CELL_SCHEMA)]
        places = {ids[symbol]: place for place, symbol in enumerate(sorted(ids))}
        by_name = pl.col("instrument_id").replace_strict(places, return_dtype=pl.Int32)
        for timeframe in map(Timeframe, timeframes):
            first, last = cell_bounds(timeframe, start, end)
            answer = self._connections.frame(_CELLS, [str(timeframe), first, last, list(ids.values())])
            sorted_cells = named(answer.sort(by_name, "day"), ids).with_columns(
                pl.lit(str(timeframe)).alias("timeframe")
            )
            parts.append(sorted_cells.select(pl.col(name).cast(dtype) for name, dtype in CELL_SCHEMA.items()))
        return pl.concat(parts)

    def set_expected(self, frame: pl.DataFrame) -> int:
        """Set the expected number of bars of cells (``instrument``, ``timeframe``, ``day``, ``expected``).

        Only cells whose number changes are written; return how many.
        """
        columns = ["instrument", "timeframe", "day", "expected"]
        require_columns(frame, columns, "a frame of expected cells")
        if frame.is_empty():
            return 0
        ids = self._symbols.ids(frame["instrument"].unique().to_list())
        rows = numbered(frame.select(columns), ids).unique(["instrument_id", "timeframe", "day"], keep="last")

        def work(connection: psycopg.Connection[Any]) -> int:
            create_temporary(connection, _EXPECTED)
            copy_rows(connection, "expected_cells", rows)
            return connection.execute(_SET_EXPECTED).rowcount

        return self._connections.run(work)

    def set_expected_alike(self, instruments: Sequence[str], cells: pl.DataFrame) -> int:
        """Set the expected number of bars of cells (``timeframe``, ``day``, ``expected``), equal for all instruments.

        Like ``set_expected``, but compared in the database, which is faster for many instruments.
        """
        require_columns(cells, ["timeframe", "day", "expected"], "a frame of expected cells")
        if cells.is_empty() or not instruments:
            return 0
        ids = list(self._symbols.ids(instruments).values())
        rows = cells.select("timeframe", "day", "expected").rows()
        return self._connections.run(unfinished.set_expected, ids, rows)

    def unfinished(
        self,
        spans: Mapping[Timeframe, tuple[datetime, datetime]],
        lower: Mapping[Timeframe, Timeframe],
        instruments: Sequence[str],
    ) -> set[Timeframe]:
        """The timeframes with work in ``[start, end)``: a cell lacks bars or reasons, or is not rolled up from the
        stored ``lower`` bars. One query for all timeframes, so that the usual answer "none" is fast.
        """
        ids = list(self._symbols.ids(instruments).values())
        cells = [
            unfinished.CellSpan(timeframe, *cell_bounds(timeframe, *bounds), lower.get(timeframe))
            for timeframe, bounds in spans.items()
        ]
        return self._connections.run(unfinished.unfinished, ids, cells) if cells and ids else set()

    def stale_rollups(
        self,
        timeframe: Timeframe,
        start: datetime | None,
        end: datetime | None,
        instruments: Sequence[str] | None = None,
        *,
        lower: Timeframe = Timeframe.M1,
    ) -> pl.DataFrame:
        """Cells of ``timeframe`` whose ``lower`` bars or their explanations changed since they were built.

        Columns ``instrument``, ``day`` and ``built_from``: pass them to ``write_rolled`` with bars rolled up from reads
        after this call. ``built_from`` is only compared, it has no other meaning.
        """
        timeframe = Timeframe(timeframe)
        ids = self._ids(instruments)
        first, last = cell_bounds(timeframe, start, end)
        parameters = [str(timeframe), str(Timeframe(lower)), first, last, timeframe.cell_days, list(ids.values())]
        return named(self._connections.frame(_STALE, parameters), ids).sort("instrument", "day")

    def summary(self, venue: str | None = None) -> pl.DataFrame:
        """Totals per timeframe over all collected instruments (of ``venue`` if given), shortest timeframe first.

        Columns cells, final (cells), expected, present, explained, missing (bars), instruments, first_day, last_day and
        newest (open time).
        """
        totals = self._connections.frame(_SUMMARY, [venue])
        newest = self._connections.frame(_NEWEST, [totals["timeframe"].to_list() or [""], venue])
        order = pl.col("timeframe").cast(pl.Enum([str(timeframe) for timeframe in Timeframe]))
        joined = totals.join(newest, on="timeframe", how="left").sort(order)
        return joined.with_columns(pl.col("newest").cast(UTC_MS))

    def version(
        self,
        timeframe: Timeframe,
        start: datetime | None,
        end: datetime | None,
        instruments: Sequence[str] | None = None,
    ) -> str:
        """A text that differs after any change in the cells that overlap ``[start, end)``."""
        first, last = cell_bounds(Timeframe(timeframe), start, end)
        return self._versions.of(CellRange(Timeframe(timeframe), first, last, tuple(self._ids(instruments).values())))

    def collected(self, timeframe: Timeframe, instruments: Sequence[str]) -> dict[str, tuple[date, date]]:
        """First and last day with bars, in table or archive, of each instrument with bars."""
        ids = self._symbols.ids(instruments)
        rows = self._connections.rows(
            """SELECT i.number, f.day, l.day FROM unnest(%s::int[]) AS i (number)
                CROSS JOIN LATERAL (SELECT c.day FROM market.coverage c WHERE c.instrument_id = i.number
                    AND c.timeframe = %s AND c.present > 0 ORDER BY c.day LIMIT 1) AS f
                CROSS JOIN LATERAL (SELECT c.day FROM market.coverage c WHERE c.instrument_id = i.number
                    AND c.timeframe = %s AND c.present > 0 ORDER BY c.day DESC LIMIT 1) AS l""",
            [list(ids.values()), str(timeframe), str(timeframe)],
        )
        symbols = {number: symbol for symbol, number in ids.items()}
        return {symbols[number]: (first, last) for number, first, last in rows}

    def touched(self, since: datetime, first: date, last: date) -> list[tuple[date, Timeframe, datetime]]:
        """Days from ``first`` to ``last`` and timeframes with a cell written after ``since``, and the time of
        writing.
        """
        rows = self._connections.run(
            lambda connection: connection.execute(
                "SELECT day, timeframe, max(updated_at) FROM market.coverage "
                "WHERE updated_at > %s AND day BETWEEN %s AND %s AND data_version > 0 GROUP BY 1, 2",
                [since, first, last],
            ).fetchall()
        )
        return [(day, Timeframe(timeframe), at) for day, timeframe, at in rows]

    def oldest_unfinished(self) -> date | None:
        """First day on which an active instrument lacks bars without a reason; None if there is none."""
        answer = self._connections.frame(
            "SELECT min(c.day) AS day FROM market.coverage c JOIN market.instruments i USING (instrument_id) "
            "WHERE i.active AND c.expected > c.present + c.explained AND c.archived = 0"
        )
        day: date | None = answer.item()
        return day

    def first_day(self, instrument: str, timeframe: Timeframe) -> datetime | None:
        """00:00 UTC of the first day with a bar, in table or archive; None if there is none."""
        number = self._symbols.ids([instrument])[instrument]
        (day,) = self._connections.row(
            "SELECT min(day) FROM market.coverage WHERE instrument_id = %s AND timeframe = %s AND present > 0",
            [number, str(timeframe)],
        )
        return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)

    def untouched(self, timeframe: Timeframe, start: datetime, end: datetime, since: timedelta) -> pl.DataFrame:
        """Cells in ``[start, end)`` that have waited for longer than ``since``: bars are expected, and there is neither
        a bar nor a row of the ledger. Columns instrument, day, expected, present, explained.
        """
        first, last = cell_bounds(timeframe, start, end)
        parameters = [str(timeframe), first, last, since, timeframe.cell_days]
        frame = named(self._connections.frame(_UNTOUCHED, parameters), self._symbols.collected())
        columns = ("instrument", "day", "expected", "present", "explained")
        return frame.select(pl.col(name).cast(CELL_SCHEMA[name]) for name in columns).sort("instrument", "day")

    def first_expected(self, timeframe: Timeframe, instruments: Sequence[str]) -> dict[str, date]:
        """First day with expected or stored bars, of weeks the Monday, of each instrument that has one."""
        ids = self._symbols.ids(instruments)
        rows = self._connections.rows(
            """SELECT i.number, f.day FROM unnest(%s::int[]) AS i (number)
                CROSS JOIN LATERAL (SELECT c.day FROM market.coverage c WHERE c.instrument_id = i.number
                    AND c.timeframe = %s AND (c.expected > 0 OR c.present > 0) ORDER BY c.day LIMIT 1) AS f""",
            [list(ids.values()), str(timeframe)],
        )
        symbols = {number: symbol for symbol, number in ids.items()}
        return {symbols[number]: day for number, day in rows}

    def span(self) -> tuple[datetime | None, datetime | None]:
        """Start of the first cell and end of the last one (UTC); (None, None) if there are no cells."""
        first, last = self._connections.frame(
            "SELECT min(day) AS first, max(day + CASE timeframe WHEN '1w' THEN 7 ELSE 1 END) AS last "
            "FROM market.coverage WHERE expected > 0 OR present > 0"
        ).row(0)
        if first is None:
            return None, None
        midnight = datetime(first.year, first.month, first.day, tzinfo=UTC)
        return midnight, midnight + timedelta(days=(last - first).days)

    def _ids(self, instruments: Sequence[str] | None) -> dict[str, int]:
        if instruments is not None:
            return self._symbols.ids(instruments)
        return self._symbols.collected()
