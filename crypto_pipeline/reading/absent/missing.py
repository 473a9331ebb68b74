"""What is missing: expected − present − explained, from the coverage table alone where a whole cell is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.market import GapState
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.gaps.arithmetic import Span, merge_spans, missing_spans_by_cell, subtract, whole_cells
from crypto_pipeline.market.gaps.sessions import inside_sessions
from crypto_pipeline.market.retention import RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.store import Store

EXPLAINED = tuple(str(state) for state in GapState if state.explained)
OPEN_UNEXPLAINED = (str(GapState.LOST), str(GapState.PENDING), str(GapState.UNPROVEN))


@dataclass(frozen=True, slots=True)
class Horizon:
    """The span in which bars are expected.

    Attributes:
        start: Its begin, UTC midnight.
        now: The market's now, UTC.
        settle: A bar is expected so long after its end.
        policy: Retention: what it takes away is not expected. None: it takes nothing.
    """

    start: datetime
    now: datetime
    settle: timedelta
    policy: RetentionPolicy | None = None

    @classmethod
    def of(cls, now: datetime, days: int, settle_seconds: float, policy: RetentionPolicy | None = None) -> Horizon:
        """The horizon that keeps ``days`` whole days of history before the current one, or fewer where ``policy`` says.

        What retention takes away is not expected, so it is never fetched back.
        """
        return cls(midnight(now) - timedelta(days=days), now, timedelta(seconds=settle_seconds), policy)

    def first_open(self, timeframe: Timeframe) -> datetime:
        """Open time of the first expected bar, which may lie in the archive."""
        kept = self.policy.kept_start(timeframe, self.now) if self.policy else None
        return timeframe.floor(self.start if kept is None else max(self.start, kept))

    def first_hot(self, timeframe: Timeframe) -> datetime:
        """Open time from which every expected bar is in the table, not in the archive."""
        hot = self.policy.hot_start(timeframe, self.now) if self.policy else None
        return timeframe.floor(self.start if hot is None else max(self.start, hot))

    def settled_end(self, timeframe: Timeframe) -> datetime:
        """End of the newest bar that is over and settled: open times before this are expected."""
        return timeframe.floor(self.now - self.settle)

    def clip(self, timeframe: Timeframe, start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
        """``[start, end)`` cut to the expected bars of ``timeframe``; a window that contains ``start`` is included."""
        first, last = self.first_open(timeframe), self.settled_end(timeframe)
        low = first if start is None else max(first, timeframe.floor(start))
        high = last if end is None else min(last, timeframe.ceil(end))
        return low, max(low, high)


def missing(
    store: Store, timeframe: Timeframe, bounds: Span, instruments: Sequence[str], horizon: Horizon
) -> pl.DataFrame:
    """Spans inside ``bounds`` that are expected, not stored and not explained, merged per instrument."""
    # Archived cells are left out: their bars are not in the table, and what they lack was requested often enough before
    # they were archived.
    lacking = (pl.col("expected") > pl.col("present") + pl.col("explained")) & (pl.col("archived") == 0)
    start, end = horizon.clip(timeframe, *bounds)
    cells = cells_in(store, timeframe, (start, end), instruments, lacking)
    if cells is None:
        return span.empty_spans()
    days = whole_cells(cells, timeframe)
    untouched = (pl.col("present") == 0) & (pl.col("explained") == 0)
    whole = span.clip(days.filter(untouched), start, end)
    partial = span.clip(days.filter(~untouched), start, end)
    holes = merge_spans(pl.concat([whole.select(*span.SPAN_SCHEMA), _inside(store, timeframe, partial)]))
    return inside_sessions(holes, timeframe, store.symbols.calendars(instruments))


def cells_in(
    store: Store, timeframe: Timeframe, bounds: Span, instruments: Sequence[str], chosen: pl.Expr
) -> pl.DataFrame | None:
    """The ``chosen`` coverage cells in a span; None where there are none."""
    start, end = bounds
    if start >= end or not instruments:
        return None
    cells = store.coverage.cells([timeframe], start, end, instruments).filter(chosen)
    return None if cells.is_empty() else cells


def _inside(store: Store, timeframe: Timeframe, cells: pl.DataFrame) -> pl.DataFrame:
    """Holes inside cells of which some bars are stored or explained."""
    if cells.is_empty():
        return span.empty_spans()
    present = store.reader.open_times(cells.select("instrument", "day"), timeframe)
    holes = missing_spans_by_cell(cells, present, timeframe)
    return subtract(holes, ledger_spans(store, timeframe, EXPLAINED, cells))


def ledger_spans(store: Store, timeframe: Timeframe, states: Sequence[str], near: pl.DataFrame) -> pl.DataFrame:
    """Open ledger rows in ``states`` of the instruments of ``near`` that touch its hull, as spans."""
    return open_rows(store, timeframe, states, near).select(*span.SPAN_SCHEMA)


def open_rows(store: Store, timeframe: Timeframe, states: Sequence[str], near: pl.DataFrame) -> pl.DataFrame:
    """Open ledger rows in ``states`` of the instruments of ``near`` that touch its hull."""
    return store.ledger.open(
        timeframe=timeframe,
        instruments=near["instrument"].unique().to_list(),
        states=list(states),
        start=near.select(pl.col("start").min()).item(),
        end=near.select(pl.col("end").max()).item(),
    )
