"""Roll-up of stored bars: only cells whose lower bars changed, only windows of which every part is accounted for."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from crypto_pipeline.healing.passes import StorePass
from crypto_pipeline.healing.plan import EXPLAINED
from crypto_pipeline.healing.reports import Counts, Progress
from crypto_pipeline.market.bars import BAR_SCHEMA, UTC_MS
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.gaps.arithmetic import intersect, subtract, to_spans, whole_cells
from crypto_pipeline.market.gaps.classification import GapState
from crypto_pipeline.market.gaps.first_bars import FirstBars
from crypto_pipeline.market.gaps.sessions import closed_spans, without_extended
from crypto_pipeline.market.rollup import roll_up_final
from crypto_pipeline.market.timeframes import LOWER, Timeframe
from crypto_pipeline.store import Store

#: Lower bars of one chunk; two chunks are in memory, as the next one is read meanwhile.
_ROWS_AT_ONCE = 150_000


def roll_up_span(
    work: StorePass, timeframe: Timeframe, start: datetime, end: datetime, counts: Counts, progress: Progress
) -> None:
    """Bring ``timeframe`` (wider than 1m) up to date in ``[start, end)`` from the stored bars of the next narrower one.

    A window is written when each of its lower bars is stored or explained by the ledger, and at least one is stored.
    A window of which every lower bar is explained is explained with the same reason. Any other window is left to the
    venue's own bars, and so is one before the first lower bar while the venue has bars of its width from other days on.
    Blocks: call it in a thread. Raises StoreError.
    """
    store, lower = work.store, LOWER[timeframe]
    stale = store.coverage.stale_rollups(timeframe, start, end, work.names, lower=lower)
    step = max(1, _ROWS_AT_ONCE // (lower.bars_per_cell * timeframe.cell_days // lower.cell_days))
    chunks = list(stale.sort("instrument", "day").iter_slices(step))

    apart = _begin_apart(work.instruments, lower, timeframe)

    def read(cells: pl.DataFrame) -> _Rolled:
        return _read(work, timeframe, cells, apart)

    done = 0
    # One chunk is read and rolled up while the one before it is being written: both mostly wait for the database.
    with ThreadPoolExecutor(1, thread_name_prefix="roll") as reader:
        coming = [reader.submit(read, chunk) for chunk in chunks[:1]]
        for number in range(len(chunks)):
            rolled = coming.pop().result()
            coming = [reader.submit(read, chunk) for chunk in chunks[number + 1 : number + 2]]
            counts.add_write(store.bars.write_rolled(rolled.bars, timeframe, built_from=rolled.cells))
            _explain_windows(work, timeframe, rolled.explained, rolled.closed, counts)
            done += rolled.cells.height
            progress(f"roll up {timeframe}", done * timeframe.bars_per_cell, stale.height * timeframe.bars_per_cell)


@dataclass(frozen=True, slots=True)
class _Rolled:
    """Some cells, their bars, what the ledger explains of the bars below them, and when the exchange was closed."""

    cells: pl.DataFrame
    bars: pl.DataFrame
    explained: pl.DataFrame
    closed: pl.DataFrame


def _begin_apart(instruments: pl.DataFrame, lower: Timeframe, timeframe: Timeframe) -> list[str]:
    """Instruments whose bars of the two widths do not begin in the same window.

    For these, a part that was never listed in the finer width says nothing about the wider one.
    """
    if "first_bars" not in instruments.columns:
        return []
    facts = instruments.select("instrument", "listed", "first_bars").iter_rows()
    return [name for name, *first in facts if not FirstBars.read(*first).begin_together(lower, timeframe)]


def _read(work: StorePass, timeframe: Timeframe, cells: pl.DataFrame, apart: list[str]) -> _Rolled:
    store, horizon, lower = work.store, work.horizon, LOWER[timeframe]
    below = store.reader.cells(cells.select("instrument", "day"), lower, days=timeframe.cell_days)
    below = without_extended(below, lower, timeframe, work.calendars)
    closed = closed_spans(whole_cells(cells, timeframe), lower, work.calendars)
    explained = _explained(store, timeframe, lower, cells).filter(
        ~(pl.col("instrument").is_in(apart) & (pl.col("state") == str(GapState.NOT_LISTED)))
    )
    rolled = roll_up_final(
        _as_stated(below), timeframe, now=horizon.now, settle_delay=horizon.settle, part=lower,
        accounted=pl.concat([explained.select(*span.SPAN_SCHEMA), closed]) if closed.height else explained,
    )  # fmt: skip
    return _Rolled(cells, rolled.select(*BAR_SCHEMA), explained, closed)


def _as_stated(bars: pl.DataFrame) -> pl.DataFrame:
    # A rolled-up bar is our own statement, made when the newest of its parts became known here. So a part that is
    # replaced always gives a newer revision, whatever date the venue puts on the replacement.
    revision = pl.max_horizontal("revision", pl.col("recorded_at").cast(UTC_MS)).alias("revision")
    return bars.with_columns(revision).select(*BAR_SCHEMA)


def _explained(store: Store, timeframe: Timeframe, lower: Timeframe, cells: pl.DataFrame) -> pl.DataFrame:
    """What the ledger explains of ``lower`` in the cells: ``instrument``, ``start``, ``end``, ``state``."""
    bounds = whole_cells(cells, timeframe).select("instrument", "start", "end")
    rows = store.ledger.open(
        timeframe=lower,
        instruments=cells["instrument"].unique().to_list(),
        states=list(EXPLAINED),
        start=bounds.select(pl.col("start").min()).item(),
        end=bounds.select(pl.col("end").max()).item(),
    )
    parts = [
        intersect(of_state.select(*span.SPAN_SCHEMA), bounds).with_columns(pl.lit(state, pl.String).alias("state"))
        for (state,), of_state in rows.partition_by("state", as_dict=True).items()
    ]
    return pl.concat([span.empty_spans().with_columns(pl.lit(None, pl.String).alias("state")), *parts])


def _explain_windows(
    work: StorePass, timeframe: Timeframe, explained: pl.DataFrame, closed: pl.DataFrame, counts: Counts
) -> None:
    """Explain windows of which every part is explained, or closed, by the most frequent reason of their parts."""
    store, lower = work.store, LOWER[timeframe]
    settled = pl.lit(work.horizon.settled_end(timeframe), UTC_MS)
    times = [
        span.open_times_of(rows, lower).with_columns(pl.lit(state, pl.String).alias("state"))
        for (state,), rows in explained.partition_by("state", as_dict=True).items()
    ]
    if not times:
        return
    of_closed = span.open_times_of(subtract(closed, explained.select(*span.SPAN_SCHEMA)), lower)
    times.append(of_closed.with_columns(pl.lit(None, pl.String).alias("state")))
    windows = (
        pl.concat(times)
        .group_by("instrument", timeframe.floor_expr())
        .agg(pl.len().alias("parts"), pl.col("state").drop_nulls().mode().sort().first())
        .filter((pl.col("parts") == timeframe.minutes // lower.minutes) & (pl.col("open_time") < settled))
        .drop_nulls("state")
    )
    for (state,), rows in windows.partition_by("state", as_dict=True).items():
        evidence = {"because": f"Every {lower} bar of the window is explained as {state}.", "rule": "derived"}
        windows_of_state = to_spans(rows.select("instrument", "open_time"), timeframe)
        recorded = store.ledger.open(
            timeframe=timeframe, instruments=windows_of_state["instrument"].to_list(), states=[str(state)]
        )
        new = subtract(windows_of_state, recorded.select(*span.SPAN_SCHEMA))
        if new.is_empty():
            continue
        store.ledger.record(
            new.with_columns(
                pl.lit(str(timeframe)).alias("timeframe"),
                pl.lit(state, pl.String).alias("state"),
                pl.lit(json.dumps(evidence)).alias("evidence"),
                pl.lit(None, UTC_MS).alias("next_attempt"),
            )
        )
        counts.explained += span.bar_count(new, timeframe)
