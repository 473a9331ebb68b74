"""Moving what is known into history: minutes that price updates stored, and the wider bars made of them.

No venue is asked, so it works while the venue is down.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from crypto_pipeline.healing import plan
from crypto_pipeline.healing.passes import FillPass
from crypto_pipeline.healing.pipeline import Pipeline
from crypto_pipeline.healing.reports import HealReport, Progress, silent
from crypto_pipeline.healing.rollup import roll_up_span
from crypto_pipeline.market.timeframes import LOWER, Timeframe

#: Bars of one write.
_ROWS = 50_000


def move_known(pipeline: Pipeline, progress: Progress = silent) -> HealReport:
    """Write the minutes of price updates into history, roll up what they complete, and return what was done.

    A minute leaves ``market.price_updates`` only after it is in history (or was refused there, and is in
    ``market.bars_apart``): whenever this is killed, the next call goes on, and a minute that it meets again is
    unchanged. Blocks: call it in a thread. Raises StoreError.
    """
    store, venue, report = pipeline.store, pipeline.venue.name, HealReport()
    counts = report.of(Timeframe.M1)
    changed: list[pl.DataFrame] = []
    while True:
        bars = store.price_updates.waiting(venue, _ROWS)
        if bars.is_empty():
            break
        counts.fetched += bars.height
        written = store.bars.write(bars, Timeframe.M1)
        counts.add_write(written)
        if written.changed:
            changed.append(bars.select("instrument", "open_time"))
        store.price_updates.drop(bars)
        progress("known 1m", counts.fetched, counts.fetched)
        if bars.height < _ROWS:
            break
    if changed:
        _roll_up(pipeline, pl.concat(changed), report, progress)
    return report


def _roll_up(pipeline: Pipeline, moved: pl.DataFrame, report: HealReport, progress: Progress) -> None:
    """Roll up the windows that hold minutes of ``moved`` (``instrument``, ``open_time``)."""
    store, venue = pipeline.store, pipeline.venue
    names = moved["instrument"].unique().to_list()
    horizon = pipeline.horizon_at(store.clock.now())
    work = FillPass(
        store=store,
        venue=venue,
        settings=pipeline.settings,
        failover=pipeline.failover,
        instruments=store.instruments.frame(venue.name).filter(pl.col("instrument").is_in(names)),
        horizon=horizon,
        progress=progress,
        report=report,
    )
    plan.refresh_expected(store, work.instruments.select("instrument", "calendar"), horizon, list(Timeframe))
    first: datetime
    last: datetime
    first, last = moved.select(pl.col("open_time").min(), pl.col("open_time").max().alias("last")).row(0)
    for timeframe in LOWER:
        start, end = horizon.clip(timeframe, first, last + Timeframe.M1.delta)
        if start < end:
            roll_up_span(work, timeframe, start, end, work.counts(timeframe), progress)
