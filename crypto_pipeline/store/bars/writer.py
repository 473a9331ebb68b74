"""The bar writer: it checks frames, cuts them into batches, and runs one transaction per batch.

Bars of any source may be written at any time, in any order, repeatedly, by any number of processes; the final table is
the same (I1 and I7 in docs/invariants.md). ``transaction`` has the work of one transaction.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import psycopg

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.bars import transaction, validation
from crypto_pipeline.store.bars.refused import BarsApart
from crypto_pipeline.store.bars.transaction import Batch, BatchOutcome
from crypto_pipeline.store.columns import bars as bar_columns
from crypto_pipeline.store.columns.bars import Array, Columns, take
from crypto_pipeline.store.columns.best_copy import sort_best
from crypto_pipeline.store.coverage.cell_locks import Cells
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.partitions import bars as partitions

log = logging.getLogger(__name__)

_EPOCH = date(1970, 1, 1)
#: With at least this many bars, a new month is built as a separate table and attached; with fewer, that is slower.
BUILD_ROWS = 100_000
#: Sessions that write the bars of one frame at the same time, and the number of bars from which that is faster: a
#: superseded bar takes four times the server's time of a new one, and each session has a processor of the server.
SESSIONS = 2
SHARED_ROWS = 20_000


@dataclass(slots=True)
class WriteResult:
    """Result of a write. Each bar counts once: as inserted, superseded, revised_only, unchanged or rejected.

    Of several copies of one bar in the frame only the best is used; the others count as unchanged.
    """

    inserted: int = 0
    superseded: int = 0
    revised_only: int = 0
    unchanged: int = 0
    rejected: int = 0
    #: Coverage cells with any change.
    cells: list[tuple[str, date]] = field(default_factory=list)
    #: Number of rejected bars by reason.
    reasons: dict[str, int] = field(default_factory=dict)
    #: The refused bars that can be identified: instrument, open time, reason and values.
    refused: list[tuple[str, datetime, str]] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """Number of rows of the table that changed."""
        return self.inserted + self.superseded + self.revised_only


class BarWriter:
    """Writes bars. Thread-safe; every batch is one transaction that may be repeated."""

    def __init__(self, connections: Connections, symbols: Symbols, batch_rows: int = 50_000) -> None:
        self._connections, self._symbols, self._batch_rows = connections, symbols, batch_rows
        self._apart = BarsApart(connections, symbols)
        self._made: set[tuple[Timeframe, int]] = set()

    def write(self, frame: pl.DataFrame, timeframe: Timeframe) -> WriteResult:
        """Store bars that are better than the stored copies, with counters and history, in one transaction per batch.

        Invalid bars are refused, counted, and recorded in ``market.bars_apart``. Raises StoreError for an unknown
        instrument or a frame that does not have BAR_SCHEMA.
        """
        return self._write(frame, Timeframe(timeframe), None)

    def write_rolled(self, frame: pl.DataFrame, timeframe: Timeframe, built_from: pl.DataFrame) -> WriteResult:
        """Store bars computed from 1m bars. ``built_from`` has the version of these 1m bars per cell.

        Its columns are ``instrument``, ``day`` and ``built_from``. A roll-up from newer minutes replaces one from older
        minutes for any revisions, and an older roll-up that arrives late is dropped. Every bar must be in one of the
        cells; a cell may have no bars. Raises StoreError.
        """
        return self._write(frame, Timeframe(timeframe), built_from)

    def _write(self, frame: pl.DataFrame, timeframe: Timeframe, built_from: pl.DataFrame | None) -> WriteResult:
        good, reasons, refused = validation.split_bad(validation.require_schema(frame), timeframe)
        result = WriteResult(
            rejected=len(frame) - len(good),
            reasons=reasons,
            refused=[(name, at, f"{why} ({said})") for name, at, why, said in refused],
        )
        if reasons:
            self._apart.refuse_many("", timeframe, refused)
            log.warning("turned away %d of %d %s bars: %s", result.rejected, len(frame), timeframe, reasons)
        names = [good["instrument"]] if built_from is None else [good["instrument"], built_from["instrument"]]
        ids = self._symbols.ids(pl.concat(names).unique().to_list())
        symbols = {number: symbol for symbol, number in ids.items()}
        bars = sort_best(bar_columns.from_frame(good, ids))
        result.unchanged = len(good) - len(bars["open_time"])
        calendars = {ids[name]: calendar for name, calendar in self._symbols.calendars(ids).items()}
        for whole in _by_partition(timeframe, bars, None if built_from is None else _versions(built_from, ids)):
            whole.calendars = calendars
            for piece, outcome in self._store(whole):
                result.inserted += outcome.inserted
                result.superseded += outcome.superseded
                result.revised_only += outcome.revised_only
                result.unchanged += outcome.unchanged
                result.cells += [
                    (symbols[instrument], _EPOCH + timedelta(days=day))
                    for instrument, day in zip(
                        piece.cells.instruments[outcome.changed].tolist(),
                        piece.cells.days[outcome.changed].tolist(),
                        strict=True,
                    )
                ]
        return result

    def _store(self, whole: Batch) -> Iterator[tuple[Batch, BatchOutcome]]:
        """Write all bars of one partition, which is made if it is missing."""
        rows = len(whole.bars["open_time"])
        if whole.month is not None and rows >= BUILD_ROWS:
            built = self._connections.run(transaction.build, whole)
            if built is not None:
                yield whole, built
                return
        if whole.month is not None and rows:
            self._connections.run(partitions.ensure, whole.timeframe, whole.month)
        sessions = min(SESSIONS, os.cpu_count() or 1, self._connections.size // 2)
        if rows < SHARED_ROWS or sessions < 2:
            for piece in transaction.split(whole, self._batch_rows):
                yield piece, self._write_piece(piece)
            return
        pieces = list(transaction.split(whole, min(self._batch_rows, -(-rows // sessions))))
        # no two pieces share a cell, so the sessions do not wait for each other
        with ThreadPoolExecutor(sessions, thread_name_prefix="write-bars") as pool:
            yield from zip(pieces, pool.map(self._write_piece, pieces), strict=True)

    def _write_piece(self, piece: Batch) -> BatchOutcome:
        while True:
            try:
                return self._connections.run(transaction.write, piece)
            except psycopg.errors.UndefinedTable:
                # retention detached the month meanwhile; late bars create it again
                if piece.month is None:
                    raise
                self._connections.run(partitions.ensure, piece.timeframe, piece.month)


def _versions(built_from: pl.DataFrame, ids: dict[str, int]) -> tuple[Array, Array, Array]:
    """Instrument ids, days since 1970 and versions, sorted as cells are."""
    numbered = (
        built_from.select(
            pl.col("instrument").replace_strict(ids, return_dtype=pl.Int64),
            pl.col("day").cast(pl.Date).to_physical().cast(pl.Int64),
            pl.col("built_from").cast(pl.Int64),
        )
        .group_by("instrument", "day")
        .max()
        .sort("instrument", "day")
    )
    return numbered["instrument"].to_numpy(), numbered["day"].to_numpy(), numbered["built_from"].to_numpy()


def _by_partition(timeframe: Timeframe, bars: Columns, versions: tuple[Array, Array, Array] | None) -> Iterator[Batch]:
    """One batch per partition, oldest first."""
    days = bar_columns.days(bars)
    if timeframe not in partitions.MONTHLY:
        yield _batch(timeframe, None, bars, days, versions)
        return
    months = _month(days)
    cell_months = _month(versions[1]) if versions is not None else months
    for month in np.unique(np.concatenate([months, cell_months])):
        rows = months == month
        of_month = None
        if versions is not None:
            chosen = cell_months == month
            of_month = versions[0][chosen], versions[1][chosen], versions[2][chosen]
        # most frames lie within one month, and copying all columns takes time
        here = bars if rows.all() else take(bars, rows)
        yield _batch(timeframe, int(month), here, days[rows], of_month)


def _batch(
    timeframe: Timeframe, month: int | None, bars: Columns, days: Array, versions: tuple[Array, Array, Array] | None
) -> Batch:
    if versions is None:
        return Batch(timeframe, month, bars, Cells.from_columns(timeframe, bars["instrument_id"], days))
    cells = Cells.from_columns(timeframe, versions[0], versions[1])
    if not cells.contain(bars):
        raise StoreError(f"rolled-up {timeframe} bars lie outside of the cells that they were built from")
    return Batch(timeframe, month, bars, cells, versions[2])


def _month(days: Array) -> Array:
    """Months since January 1970 of days since then."""
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
