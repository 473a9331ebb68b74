"""Price updates: the newest minutes of the instruments of a venue without a stream, stored as they come.

They go into a table of their own (``market.price_updates``) and into ``market.live_prices``, so that storing a price
never waits for what writes history. ``known_bars`` moves them into history.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.healing.pipeline import Pipeline
from crypto_pipeline.healing.reports import HealReport
from crypto_pipeline.market.calendars import get_calendar, may_have_traded
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.venues import FetchPlan, ListingStatus, VenueError

log = logging.getLogger(__name__)

#: Older minutes are left to the historical sync: a price needs the newest one.
LOOK_BACK = timedelta(hours=1)
#: Answers are stored at least so often, seconds: an update that is killed loses no more.
_STORE_EVERY = 1.0


async def update_prices(pipeline: Pipeline) -> HealReport:
    """Ask the venue for the newest minutes of each of its instruments, and store them and the prices.

    Instruments whose newest minute is the longest ago come first, so that a venue with few requests a minute serves all
    of them in turn. Nothing is asked of an instrument whose exchange is closed, or whose newest minute is stored. One
    that fails is named in the report. The counts of 1m: ``planned`` minutes were asked for, ``fetched`` were stated,
    ``inserted`` were new. Raises VenueError when the venue answers for none.
    """
    store, venue, report = pipeline.store, pipeline.venue, HealReport()
    counts = report.of(Timeframe.M1)
    await asyncio.to_thread(store.price_updates.price_from_history, venue.name)
    horizon = await pipeline.horizon()
    plans = await asyncio.to_thread(_plans, store, venue.name, horizon.settled_end(Timeframe.M1))
    counts.planned = sum(Timeframe.M1.count(*span) for plan in plans for span in plan.spans)
    failures: list[VenueError] = []

    def failed(plan: FetchPlan, error: VenueError) -> None:
        report.problems[plan.instrument] = str(error)
        failures.append(error)
        log.warning("%s: %s", plan.instrument, error)

    waiting: list[pl.DataFrame] = []
    answered, stored_at = False, time.monotonic()
    async for answer in venue.bars_many(plans, archive=False, on_error=failed):
        answered = True
        counts.fetched += answer.bars.height
        counts.rejected += len(answer.refused)
        if answer.refused:
            await asyncio.to_thread(
                store.bars_apart.refuse, venue.name, answer.instrument, Timeframe.M1, answer.refused
            )
        waiting.append(answer.bars)
        if time.monotonic() - stored_at >= _STORE_EVERY:
            counts.inserted += await _store(store, waiting)
            stored_at = time.monotonic()
    counts.inserted += await _store(store, waiting)
    if failures and not answered:
        raise failures[0]
    return report


async def _store(store: Store, waiting: list[pl.DataFrame]) -> int:
    """Store the bars that wait; returns how many are new. In a thread, so that answers go on being read."""
    if not waiting:
        return 0
    bars = pl.concat(waiting)
    waiting.clear()
    return await asyncio.to_thread(store.price_updates.keep, bars)


def _plans(store: Store, venue: str, settled: datetime) -> list[FetchPlan]:
    """What to ask of each instrument that the venue lists: the minutes up to ``settled`` after its newest one."""
    listed = store.instruments.frame(venue, own=True).filter(
        pl.col("active")
        & pl.col("venue_symbol").is_not_null()
        & (pl.col("status") != str(ListingStatus.DELISTED))
        & pl.col("delisted").is_null()
    )
    facts = {name: (symbol, calendar) for name, symbol, calendar in listed.select(
        "instrument", "venue_symbol", "calendar").iter_rows()}  # fmt: skip
    plans = []
    for name, newest in store.price_updates.newest(venue).iter_rows():
        if name not in facts:
            continue
        symbol, calendar = facts[name]
        start = max(settled - LOOK_BACK, settled - LOOK_BACK if newest is None else newest + Timeframe.M1.delta)
        if start < settled and may_have_traded(get_calendar(calendar), start, settled):
            plans.append(FetchPlan(name, symbol, Timeframe.M1, [(start, settled)]))
    return plans
