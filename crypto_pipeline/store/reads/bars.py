"""Reading bars into Polars frames."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import polars as pl

from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.store.columns import frames
from crypto_pipeline.store.columns.bars import BAR_COLUMNS
from crypto_pipeline.store.columns.frames import READ_SCHEMA, InstrumentNames
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.reads.queries import FIRST, LAST, Wanted
from crypto_pipeline.store.reads.revisions import RevisionReads
from crypto_pipeline.store.reads.router import BarRouter

if TYPE_CHECKING:
    from crypto_pipeline.store.archive.reader import Archive

__all__ = ["READ_SCHEMA", "BarReader"]

# OFFSET 0 makes the planner read each cell by its key, instead of reading everything and joining it to the cells.
_CELLS = """
FROM unnest($1::int[], $2::int[]) AS c (number, day)
CROSS JOIN LATERAL (
    SELECT * FROM market.ohlc_data b
    WHERE b.instrument_id = c.number AND b.timeframe = $3
      AND b.open_time >= timestamptz 'epoch' + c.day * interval '24 hours'
      AND b.open_time < timestamptz 'epoch' + (c.day + $4) * interval '24 hours'
    OFFSET 0
) AS o
"""
_OPEN_TIMES = "SELECT o.instrument_id, o.open_time" + _CELLS
_IN_CELLS = f"SELECT {', '.join(f'o.{name}' for name in BAR_COLUMNS)}" + _CELLS

_SPAN = """
SELECT c.instrument_id, sum(c.present)::bigint AS rows, f.first, l.last
FROM market.coverage c
JOIN market.instruments i USING (instrument_id)
LEFT JOIN LATERAL (
    SELECT b.open_time AS first FROM market.ohlc_data b
    WHERE b.instrument_id = c.instrument_id AND b.timeframe = $2 ORDER BY b.open_time LIMIT 1
) AS f ON true
LEFT JOIN LATERAL (
    SELECT b.open_time AS last FROM market.ohlc_data b
    WHERE b.instrument_id = c.instrument_id AND b.timeframe = $2 ORDER BY b.open_time DESC LIMIT 1
) AS l ON true
WHERE i.symbol = ANY($1) AND c.timeframe = $2
GROUP BY c.instrument_id, f.first, l.last
"""


class BarReads(Protocol):
    """Reads bars for a checked question."""

    def read(self, wanted: Wanted, ids: dict[str, int], columns: Sequence[str]) -> pl.DataFrame:
        """The bars with the ``columns`` of READ_SCHEMA, sorted by instrument and time. Sets ``wanted.columns``."""
        ...


class BarReader:
    """Reads bars from table and archive, with the result that one table with all bars would give. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols, archive: Archive) -> None:
        self._connections, self._symbols = connections, symbols
        #: Reads of the newest bars and of spans, from table and archive.
        self.router: BarReads = BarRouter(connections, archive)
        self._revisions = RevisionReads(connections, symbols, archive)

    def read(
        self,
        instruments: Sequence[str],
        timeframe: Timeframe,
        start: datetime,
        end: datetime,
        *,
        as_of: datetime | None = None,
        complete: bool = False,
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Bars with open time in ``[start, end)``, sorted by instrument and time, in READ_SCHEMA.

        ``as_of`` returns the bars stored at that time (if their values were confirmed later, ``revision`` may be
        newer). ``complete`` excludes bars whose window had not ended. ``columns`` are names of READ_SCHEMA, in the
        given order; fewer columns are faster. Raises StoreError for an unknown instrument or column or a start
        after the end, ValueError for a naive time.
        """
        begin, until = require_utc(start), require_utc(end)
        if begin > until:
            raise StoreError(f"start {begin.isoformat()} is after end {until.isoformat()}: swap them")
        return self._answer(instruments, timeframe, begin, until, as_of, None, complete, columns)

    def newest(
        self,
        instruments: Sequence[str],
        timeframe: Timeframe,
        count: int,
        *,
        before: datetime | None = None,
        as_of: datetime | None = None,
        complete: bool = False,
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """The newest ``count`` bars of each instrument that open before ``before`` (UTC); otherwise as ``read``."""
        if count < 1:
            raise StoreError(f"count of newest bars is {count}: use at least 1")
        until = LAST if before is None else require_utc(before)
        return self._answer(instruments, timeframe, FIRST, until, as_of, count, complete, columns)

    def latest(
        self, instruments: Sequence[str], timeframe: Timeframe, *, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """The newest bar of each instrument that has one, in READ_SCHEMA."""
        return self.newest(instruments, timeframe, 1, columns=columns)

    def revisions(
        self, instruments: Sequence[str], timeframe: Timeframe, start: datetime, end: datetime
    ) -> pl.DataFrame:
        """Superseded copies of the bars with open time in ``[start, end)``: see ``RevisionReads.read``."""
        return self._revisions.read(instruments, timeframe, start, end)

    def _answer(
        self,
        instruments: Sequence[str],
        timeframe: Timeframe,
        begin: datetime,
        until: datetime,
        as_of: datetime | None,
        last: int | None,
        complete: bool,
        columns: Sequence[str] | None,
    ) -> pl.DataFrame:
        names = list(READ_SCHEMA) if columns is None else list(dict.fromkeys(columns))
        for name in names:
            if name not in READ_SCHEMA:
                raise StoreError(f"bars have no column {name!r}: choose among {', '.join(READ_SCHEMA)}")
        ids = self._symbols.ids(instruments)
        moment = None if as_of is None else require_utc(as_of)
        numbers = tuple(ids.values())
        # there are no bars outside of the years that the server supports
        begin, until = min(max(begin, FIRST), LAST), min(max(until, FIRST), LAST)
        wanted = Wanted(numbers, Timeframe(timeframe), begin, until, moment, last, complete)
        return self.router.read(wanted, ids, names)

    def open_times(self, cells: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
        """Open times of the stored bars in coverage cells (``instrument``, ``day``), sorted."""
        ids = self._symbols.ids(cells["instrument"].unique().to_list())
        wanted = _cell_numbers(cells, ids)
        timeframe = Timeframe(timeframe)
        parameters = [wanted["instrument"].to_list(), wanted["day"].to_list(), str(timeframe), timeframe.cell_days]
        answer = self._connections.frame(_OPEN_TIMES, parameters)
        return answer.select(_names(ids), pl.col("open_time").cast(BAR_SCHEMA["open_time"])).sort(
            "instrument", "open_time"
        )

    def cells(self, cells: pl.DataFrame, timeframe: Timeframe, days: int = 1) -> pl.DataFrame:
        """The bars of ``days`` days from the ``day`` of each cell (``instrument``, ``day``), sorted, in READ_SCHEMA."""
        ids = self._symbols.ids(cells["instrument"].unique().to_list())
        wanted = _cell_numbers(cells, ids)
        parameters = [wanted["instrument"].to_list(), wanted["day"].to_list(), str(Timeframe(timeframe)), days]
        return _bars(self._connections.frame(_IN_CELLS, parameters), ids)

    def span(self, instruments: Sequence[str], timeframe: Timeframe) -> pl.DataFrame:
        """One row per instrument with bars: ``instrument``, ``rows``, ``first`` and ``last`` open time."""
        ids = self._symbols.ids(instruments)
        answer = self._connections.frame(_SPAN, [list(ids), str(Timeframe(timeframe))])
        times = pl.col("first", "last").cast(BAR_SCHEMA["open_time"])
        return answer.select(_names(ids), "rows", times).filter(pl.col("rows") > 0).sort("instrument")


def _cell_numbers(cells: pl.DataFrame, ids: dict[str, int]) -> pl.DataFrame:
    return cells.select(
        pl.col("instrument").replace_strict(ids, return_dtype=pl.Int32),
        pl.col("day").cast(pl.Date).to_physical().cast(pl.Int32),
    ).unique()


def _names(ids: dict[str, int]) -> pl.Expr:
    symbols = {number: symbol for symbol, number in ids.items()}
    return pl.col("instrument_id").replace_strict(symbols, return_dtype=pl.String).alias("instrument")


def _bars(answer: pl.DataFrame, ids: dict[str, int]) -> pl.DataFrame:
    return frames.bars({name: answer[name] for name in answer.columns}, InstrumentNames(ids), list(READ_SCHEMA))
