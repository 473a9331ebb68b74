"""The processors: named passes of healing, each of which writes a row of its figures into ``ops.job_metrics``."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import polars as pl

from crypto_pipeline.healing.passes import LIVE
from crypto_pipeline.healing.pipeline import Pipeline
from crypto_pipeline.healing.plan import OPEN_UNEXPLAINED
from crypto_pipeline.healing.reports import Counts, HealReport
from crypto_pipeline.ingest import MinuteDone, OnMinute, shards_with_instruments
from crypto_pipeline.market.gaps.classification import GapState
from crypto_pipeline.market.times import midnight
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.operations.job_metrics import JobMetrics

#: The name under which the live processor writes its figures.
LIVE_PROCESSOR = "live_processor"
#: Without figures of the live processor for this long, it does not keep up. It works after every minute.
_LIVE_WITHIN = timedelta(minutes=3)
#: Seconds after which a heartbeat of ingest says nothing.
_LIVE_AGE = 20.0
#: How far back the live processor fills after each minute, and the live gap monitor searches every five minutes.
LIVE_SPAN = timedelta(hours=24)
MONITORED = timedelta(days=7)


async def measured(
    store: Store, job: str, work: Callable[[], Awaitable[HealReport]], run_id: str | None = None
) -> HealReport:
    """Do ``work`` and write its figures under the name ``job``, whether it succeeds or not."""
    started, clock = datetime.now(UTC), time.monotonic()

    def record(report: HealReport, status: str) -> None:
        total = summed(report)
        store.metrics.record(
            JobMetrics(
                job=job,
                started=started,
                seconds=time.monotonic() - clock,
                succeeded=status == "succeeded",
                status=status,
                run_id=run_id,
                rows=total.fetched,
                bars_made=total.inserted + total.superseded,
                gaps_found=total.gaps,
                gaps_filled=total.gaps_filled,
                oldest_gap=oldest_gap(store),
                detail={
                    "problems": report.problems,
                    "still_missing": total.still_missing,
                    "from_trades": total.rebuilt_from_trades,
                    "stood_in": total.stood_in,
                },
            )
        )

    try:
        report = await work()
    except BaseException as error:
        record(HealReport(problems={"error": str(error)}), f"failed: {type(error).__name__}")
        raise
    record(report, "succeeded")
    return report


def record_idle_pass(store: Store, job: str, started: datetime, seconds: float) -> None:
    """Write the metrics of a pass of the processor ``job`` that found nothing to do. Raises StoreError."""
    store.metrics.record(JobMetrics(job=job, started=started, seconds=seconds, oldest_gap=oldest_gap(store)))


def after_minute(settings: Settings) -> OnMinute:
    """The live processor, for ingest to call after each minute: the last 24 hours checked, filled and rolled up."""

    async def work(done: MinuteDone) -> None:
        # The end of the minute tells the venue's time: where nothing is missing, the venue is not asked at all.
        settled = done.now + timedelta(seconds=settings.settle_delay)
        async with Pipeline.open(done.store, settings, live=True) as pipeline:
            horizon = pipeline.horizon_at(settled)
            await pipeline.failover.look()
            span = done.now - LIVE_SPAN, done.now, done.instruments
            fill = partial(pipeline.backfill, *span, mode=LIVE, horizon=horizon)
            await measured(done.store, LIVE_PROCESSOR, fill)

    def run(done: MinuteDone) -> None:
        asyncio.run(work(done))

    return run


def live_processor_keeps_up(store: Store, settings: Settings) -> bool:
    """Whether ingest collects every venue, and the live processor has left nothing to do in the last 24 hours.

    Raises StoreError.
    """
    shards = shards_with_instruments(settings, store)
    streamed, instruments = {shard.venue for shard in shards}, store.instruments.list()
    if not shards or any((row.instrument.venue or settings.venue) not in streamed for row in instruments):
        return False
    beats = [store.heartbeats.get(shard.name) for shard in shards]
    if any(beat is None or beat.age >= _LIVE_AGE or beat.detail.get("state") != "live" for beat in beats):
        return False
    passes = store.metrics.recent(datetime.now(UTC) - _LIVE_WITHIN, LIVE_PROCESSOR)
    if passes.height < len(shards) or not passes["succeeded"].all():
        return False
    left = [json.loads(detail) for detail in passes["detail"]]
    return not any(each.get("problems") or each.get("still_missing") for each in left)


def summed(report: HealReport) -> Counts:
    """The counts of all timeframes together."""
    total = Counts()
    for counts in report.counts.values():
        total.add(counts)
    return total


def oldest_gap(store: Store) -> datetime | None:
    """Begin of the oldest hole that waits for its bars, in the ledger or not; None when there is none.

    Holes of which the venue does not show whether anything was traded (``unproven``) do not count. A hole that the
    venue could not be asked about has no ledger row: then its day is taken, from what is expected.
    """
    rows = store.ledger.open(states=list(OPEN_UNEXPLAINED))
    begins: list[datetime] = rows.filter(pl.col("state") != str(GapState.UNPROVEN))["start"].drop_nulls().to_list()
    day = store.coverage.oldest_unfinished()
    if day is not None and not any(start.date() <= day for start in rows["start"]):
        begins.append(midnight(day))
    return min(begins, default=None)
