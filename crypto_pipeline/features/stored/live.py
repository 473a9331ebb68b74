"""Live rows: right after a 15m bar closed, by the function that computes history, from the bars known then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Thread

import polars as pl

from crypto_pipeline.arrays import rolling
from crypto_pipeline.features.compute import compute_features, schema_hash
from crypto_pipeline.features.stored.update import BENCHMARK, Universe, read_bars
from crypto_pipeline.healing.processors import after_minute
from crypto_pipeline.ingest import MinuteDone, OnMinute
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.operations.job_metrics import JobMetrics

log = logging.getLogger(__name__)

#: Late bars get their row here if they are not older than this; older ones are left to the batch path.
LATE = timedelta(hours=2)
#: How long the rows stay as they were served, for the parity check.
KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class LiveStep:
    """The result of one step: rows written, seconds that it took, and the open times of the bars that got rows."""

    rows: int
    seconds: float
    opened: tuple[datetime, ...] = ()


def live_step(store: Store, now: datetime, *, benchmark: str = BENCHMARK) -> LiveStep:
    """Compute and store the rows of 15m bars that closed in the last two hours and have none yet.

    A query when there is nothing to do. Rows are written once and stay as they were (``ml_features_live``); what bars
    that come later change is put right by history, which finds the day unfinished.
    """
    clock, started = time.monotonic(), datetime.now(UTC)
    until = Timeframe.M15.floor(now)
    universe = Universe.from_store(store, benchmark)
    due = store.features.missing(universe.instruments, until - LATE, until) if universe.instruments else pl.DataFrame()
    if due.is_empty():
        return LiveStep(0, time.monotonic() - clock)
    names, first = due["instrument"].unique().sort().to_list(), min(due["open_time"])
    known_at = store.features.clock()
    bars = read_bars(store, universe, names, first.date(), until, as_of=known_at)
    rows = compute_features(bars, first, until, benchmark=universe.benchmark, instruments=names)
    rows = rows.join(due, on=["instrument", "open_time"], how="semi", maintain_order="left")
    added = store.features.append(rows, schema_hash(), known_at)
    seconds = time.monotonic() - clock
    store.metrics.record(JobMetrics(job="live_features", started=started, seconds=seconds, rows=added))
    return LiveStep(added, seconds, tuple(rows["open_time"].unique().sort().to_list()))


#: What follows the features of a minute.
AfterFeatures = Callable[[MinuteDone, LiveStep], None]


def after_minute_with_features(settings: Settings, then: AfterFeatures | None = None) -> OnMinute:
    """A callback for ingest after each minute: check, fill and roll up bars, then compute the features of closed bars.

    ``then`` is called after them. Kernels are made ready beside it from now on, long before a bar closes.
    """
    bars = after_minute(settings)
    Thread(target=rolling.prepare, name="prepare-kernels", daemon=True).start()

    def run(done: MinuteDone) -> None:
        try:
            bars(done)
        finally:
            step = live_step(done.store, done.now, benchmark=settings.feature_benchmark)
            if then is not None:
                then(done, step)

    return run
