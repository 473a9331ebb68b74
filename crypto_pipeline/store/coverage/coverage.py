"""The coverage table: per instrument, timeframe and day how many bars there should be, are, and are explained.

The writers of bars and ledger keep the counters in their own transactions. Here belong reads, and what is expected.
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

#: What ``cells`` returns.
CELL_SCHEMA: dict[str, pl.DataType] = {
    "instrument": pl.String(),
    "timeframe": pl.String(),
    "day": pl.Date(),
    "expected": pl.Int32(),
    "present": pl.Int32(),
    "explained": pl.Int32(),
    "archived": pl.Int32(),
    "final": pl.Boolean(),
    "data_version": pl.Int64(),
    "built_from": pl.Int64(),
}

_CELLS = """
SELECT instrument_id, day, expected, present, explained, archived, final, data_version, built_from
FROM market.coverage
WHERE timeframe = $1 AND day BETWEEN $2 AND $3 AND instrument_id = ANY($4)
"""

_EXPECTED = """
CREATE TEMP TABLE IF NOT EXISTS expected_cells (instrument_id int, timeframe text, day date, expected int)
ON COMMIT DELETE ROWS
"""

_SET_EXPECTED = (
    """
INSERT INTO market.coverage AS c (instrument_id, timeframe, day, expected)
SELECT instrument_id, timeframe, day, expected FROM pg_temp.expected_cells
ORDER BY instrument_id, timeframe COLLATE "C", day
"""
    + unfinished.ON_EXPECTED_AGAIN
)

# The sum, not the newest: versions are drawn before they are committed, so a change may become visible after a later
# one, and would then hide behind it. Every version only rises, so the sum changes with any of them.
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
WHERE active
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
WHERE i.active
GROUP BY t.timeframe
"""


class Coverage:
    """Reads and states coverage. Thread-safe."""

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
        """Cells that ``[start, end)`` touches, in CELL_SCHEMA, sorted by timeframe as given, instrument and day.

        Of the given instruments, else of all that are collected.
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
        """Set how many bars cells (``instrument``, ``timeframe``, ``day``, ``expected``) should have.

        Only cells whose count changes are written; returns how many.
        """
        columns = ["instrument", "timeframe", "day", "expected"]
        require_columns(frame, columns, "a frame of expected cells")
        if frame.is_empty():
            return 0
        ids = self._symbols.ids(frame["instrument"].unique().to_list())
        rows = numbered(frame.select(columns), ids).unique(["instrument_id", "timeframe", "day"], keep="last")

        def work(connection: psycopg.Connection[Any]) -> int:
            connection.execute(_EXPECTED)
            copy_rows(connection, "expected_cells", rows)
            return connection.execute(_SET_EXPECTED).rowcount

        return self._connections.run(work)

    def set_expected_alike(self, instruments: Sequence[str], cells: pl.DataFrame) -> int:
        """Set how many bars cells (``timeframe``, ``day``, ``expected``) should have, the same for all instruments.

        As ``set_expected``, but compared in the database, which is fast for all instruments at once.
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
        """The timeframes with anything to do in ``[start, end)``: a cell that lacks bars or reasons, or is not rolled
        up from the ``lower`` bars that are stored now. One question for all, so that "nothing" is a quick answer.
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

        Columns ``instrument``, ``day`` and ``built_from``: what to pass to ``write_rolled`` after rolling up what is
        read from now on. It is a figure to compare, not to interpret.
        """
        timeframe = Timeframe(timeframe)
        ids = self._ids(instruments)
        first, last = cell_bounds(timeframe, start, end)
        parameters = [str(timeframe), str(Timeframe(lower)), first, last, timeframe.cell_days, list(ids.values())]
        return named(self._connections.frame(_STALE, parameters), ids).sort("instrument", "day")

    def summary(self) -> pl.DataFrame:
        """Totals per timeframe over the instruments that are collected, shortest first.

        Columns cells, final (cells), expected, present, explained, missing (bars), instruments, first_day, last_day and
        newest (open time).
        """
        totals = self._connections.frame(_SUMMARY)
        newest = self._connections.frame(_NEWEST, [totals["timeframe"].to_list() or [""]])
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
        """A text that is another whenever anything in the cells that ``[start, end)`` touches has changed."""
        first, last = cell_bounds(Timeframe(timeframe), start, end)
        return self._versions.of(CellRange(Timeframe(timeframe), first, last, tuple(self._ids(instruments).values())))

    def collected(self, timeframe: Timeframe, instruments: Sequence[str]) -> dict[str, tuple[date, date]]:
        """First and last day with bars, in the table or archived, of each instrument that has any."""
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
        """Days ``first`` … ``last`` and timeframes of which a cell was written after ``since``, and when that was."""
        rows = self._connections.run(
            lambda connection: connection.execute(
                "SELECT day, timeframe, max(updated_at) FROM market.coverage "
                "WHERE updated_at > %s AND day BETWEEN %s AND %s AND data_version > 0 GROUP BY 1, 2",
                [since, first, last],
            ).fetchall()
        )
        return [(day, Timeframe(timeframe), at) for day, timeframe, at in rows]

    def oldest_unfinished(self) -> date | None:
        """First day on which an active instrument lacks bars and reasons; None when all is accounted for."""
        answer = self._connections.frame(
            "SELECT min(c.day) AS day FROM market.coverage c JOIN market.instruments i USING (instrument_id) "
            "WHERE i.active AND c.expected > c.present + c.explained AND c.archived = 0"
        )
        day: date | None = answer.item()
        return day

    def first_day(self, instrument: str, timeframe: Timeframe) -> datetime | None:
        """Midnight of the first day with a bar, in the table or the archive; None: there is none."""
        number = self._symbols.ids([instrument])[instrument]
        (day,) = self._connections.row(
            "SELECT min(day) FROM market.coverage WHERE instrument_id = %s AND timeframe = %s AND present > 0",
            [number, str(timeframe)],
        )
        return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)

    def span(self) -> tuple[datetime | None, datetime | None]:
        """From the first cell's midnight to the end of the last one; (None, None) when there is none."""
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
