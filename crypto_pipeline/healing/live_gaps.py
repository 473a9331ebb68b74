"""Gaps of the newest days: each is found and filled by itself, however many there are.

A gap is any expected bar that is absent, also a single minute in the middle of a complete day. Nothing but the gaps is
requested.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from crypto_pipeline.healing import plan
from crypto_pipeline.healing.passes import FillMode
from crypto_pipeline.healing.pipeline import Pipeline
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.healing.reports import HealReport, Progress, silent
from crypto_pipeline.market.bars import UTC_MS, BarOrigin
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

#: The newest minutes are still being written and are no gaps yet.
_GRACE = timedelta(minutes=1)
#: Columns of ``find_gaps``.
GAPS = {**span.SPAN_SCHEMA, "timeframe": pl.String()}


async def find_gaps(
    pipeline: Pipeline, back: timedelta, instruments: Sequence[str] = (), *, collecting: Sequence[str] = ()
) -> pl.DataFrame:
    """Every gap of the newest ``back`` that may be filled now: ``instrument``, ``start``, ``end``, ``timeframe``.

    In all timeframes; a wider window over an absent minute is a gap of its own. Gaps whose next attempt lies ahead are
    left out. For instruments whose history is being collected for the first time (``collecting``), only bars since they
    were added count.
    """
    horizon = await quick_horizon(pipeline)
    names, _ = pipeline.collected(instruments)
    gaps = await asyncio.to_thread(_find, pipeline.store, names, horizon, back)
    since = {row.instrument.symbol: row.added_at for row in pipeline.store.instruments.list()}
    fresh = {name: since[name] for name in collecting if name in since}
    if not fresh:
        return gaps
    added = pl.col("instrument").replace_strict(fresh, default=None, return_dtype=UTC_MS)
    return gaps.with_columns(pl.max_horizontal("start", added.dt.truncate("1m"))).filter(
        (pl.col("start") < pl.col("end")) & (added.is_null() | (pl.col("timeframe") == str(Timeframe.M1)))
    )


async def quick_horizon(pipeline: Pipeline) -> Horizon:
    """The horizon by the venue's clock; where the venue does not answer at once, by its last known time.

    Where the venue answered, ``coverage.expected`` is brought up to date.
    """
    status = await pipeline.failover.probe()
    told = status.time
    horizon = pipeline.horizon_at(await asyncio.to_thread(pipeline.store.clock.now) if told is None else told)
    if status.reachable and status.time is not None:
        await asyncio.to_thread(_refresh, pipeline.store, pipeline.venue.name, horizon)
    return horizon


def _refresh(store: Store, venue: str, horizon: Horizon) -> None:
    calendars = [(row.instrument.symbol, row.instrument.calendar) for row in store.instruments.list(venue=venue)]
    known = pl.DataFrame(calendars, schema={"instrument": pl.String(), "calendar": pl.String()}, orient="row")
    plan.refresh_expected(store, known, horizon, list(Timeframe))


def _find(store: Store, names: list[str], horizon: Horizon, back: timedelta) -> pl.DataFrame:
    found = [pl.DataFrame(schema=GAPS)]
    for timeframe in Timeframe:
        until = timeframe.floor(horizon.now - _GRACE)
        wanted = plan.missing(store, timeframe, (horizon.now - back, until), names, horizon)
        due = plan.due(store, timeframe, wanted, horizon.now)
        found.append(due.with_columns(pl.lit(str(timeframe)).alias("timeframe")).select(*GAPS))
    return pl.concat(found)


async def fill_gaps(pipeline: Pipeline, gaps: pl.DataFrame, progress: Progress = silent) -> HealReport:
    """Fill these gaps (as ``find_gaps`` returns them) from stored trades, the venue, or a venue that stands in.

    The source of 1m bars is ``live_gap_filled``. Stored trades are used even while the venue does not answer. Wider
    bars are rolled up, and requested where they cannot be.
    """
    if gaps.is_empty():
        return HealReport()
    minutes = gaps.filter(pl.col("timeframe") == str(Timeframe.M1)).select(*span.SPAN_SCHEMA)
    mode = FillMode(from_trades=True, mark=BarOrigin.LIVE_GAP_FILLED, only=minutes)
    start, end = gaps.select(pl.col("start").min(), pl.col("end").max()).row(0)
    names = gaps["instrument"].unique().sort().to_list()
    horizon = await quick_horizon(pipeline)
    return await pipeline.backfill(start, end, names, progress=progress, mode=mode, horizon=horizon)
