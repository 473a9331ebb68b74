"""Bringing stored features up to date: find stale days, read the bars they depend on, compute, write.

Every pass reconciles to the desired state: days whose bars (look-back windows included) are the ones that they were
computed from are left alone, so a pass with nothing to do is one query.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Self

import polars as pl

from crypto_pipeline.features.compute import (
    BENCHMARK_LOOK_BACK,
    LOOK_BACK,
    MARKET_LOOK_BACK,
    Bars,
    compute_features,
    feature_frames,
    schema_hash,
)
from crypto_pipeline.lake.reads.bars import long_reads
from crypto_pipeline.market.instruments import AssetClass
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.research.feature_cells import LookBacks

#: Rows in one writing transaction.
BATCH_ROWS = 50_000
#: Days that are computed from one reading of bars.
_DAYS_AT_ONCE = 200
#: Stale days of an instrument that are so close are computed in one go (and only the stale ones written).
_JOINED_DAYS = 10
#: What features are made of; of wider bars only highs, lows and closes. Fewer columns are read faster.
_WIDER_COLUMNS = ("instrument", "open_time", "high", "low", "close")
_COLUMNS = (*_WIDER_COLUMNS, "open", "volume")

#: What market features and DCA setups refer to unless the setting ``feature_benchmark`` says otherwise; and the word
#: that says there is none.
BENCHMARK, NO_BENCHMARK = "BTC", "none"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Universe:
    """The instruments that have features, and the benchmark among them."""

    instruments: list[str]
    benchmark: str | None

    @classmethod
    def from_store(cls, store: Store, benchmark: str = BENCHMARK) -> Universe:
        """Active crypto instruments; the benchmark is named, or the first of them with that base, or None."""
        rows = [row.instrument for row in store.instruments.list() if row.instrument.asset_class is AssetClass.CRYPTO]
        names = [one.symbol for one in rows]
        if benchmark in names:
            return cls(names, benchmark)
        return cls(names, next((one.symbol for one in rows if one.base == benchmark), None))


def lacks_benchmark(universe: Universe, benchmark: str) -> str | None:
    """What is wrong when the benchmark of the setting ``feature_benchmark`` is not collected, and how to mend it.

    None where it is collected, or where the setting says ``none``.
    """
    if universe.benchmark is not None or benchmark.lower() == NO_BENCHMARK:
        return None
    named = benchmark if "-" in benchmark else f"{benchmark}-USDT"
    return (
        f"the benchmark {benchmark!r} is not collected (no active instrument has that name or base): market features "
        f"and regime are null, and there are no DCA setups. Add it (`crypto-pipeline instruments add {named}`), name "
        "another (CRYPTO_PIPELINE_FEATURE_BENCHMARK=ETH), or say that there is none (…=none)"
    )


@dataclass(slots=True)
class FeatureReport:
    """The result of one pass."""

    stale_cells: int = 0
    instruments: int = 0
    rows: int = 0
    benchmark: str | None = None
    days: list[date] = field(default_factory=list)
    #: ``instrument`` and ``day`` of what was computed
    computed: pl.DataFrame = field(default_factory=pl.DataFrame)


@dataclass(frozen=True, slots=True)
class Task:
    """Instruments with the same stale days, which are computed together."""

    instruments: list[str]
    first: date
    last: date
    cells: pl.DataFrame


def first_kept_day(now: datetime, keep_days: int) -> date:
    """The first day whose features are kept: a month is removed as a whole when its last day is ``keep_days`` old."""
    return (now.astimezone(UTC) - timedelta(days=keep_days)).date().replace(day=1)


def stale_days(store: Store, universe: Universe, instruments: Sequence[str], first: date, last: date) -> pl.DataFrame:
    """Cells of ``first`` … ``last`` whose features do not follow from the stored bars: see ``FeatureCells.stale``."""
    looks = LookBacks(LOOK_BACK, BENCHMARK_LOOK_BACK, MARKET_LOOK_BACK)
    return store.features.cells.stale(
        instruments,
        first,
        last,
        looks=looks,
        schema_hash=schema_hash(),
        benchmark=universe.benchmark,
        market=universe.instruments,
    )


def bring_up_to_date(
    store: Store,
    start: datetime,
    end: datetime,
    instruments: Sequence[str] = (),
    *,
    now: datetime | None = None,
    benchmark: str = BENCHMARK,
    progress: Progress | None = None,
) -> FeatureReport:
    """Compute and store the features of every stale day that ``[start, end)`` touches, and of no other.

    ``instruments`` limits it (default: every active crypto instrument); rank and breadth are over all of them in any
    case. Raises StoreError for an unknown instrument.
    """
    now = now or store.clock.now()
    universe = Universe.from_store(store, benchmark)
    chosen = sorted(set(instruments)) or universe.instruments
    until = min(end, Timeframe.M15.floor(now))
    report = FeatureReport(benchmark=universe.benchmark, instruments=len(chosen))
    if not chosen or until <= start:
        return report
    last = (until - timedelta(microseconds=1)).astimezone(UTC).date()
    # What a cell will be computed from is read before its bars: a bar that comes in between leaves it stale, not wrong.
    stale = stale_days(store, universe, chosen, start.astimezone(UTC).date(), last)
    report.stale_cells = stale.height
    report.days = stale["day"].unique().sort().to_list()
    report.computed = stale.select("instrument", "day")
    with _Writer(store, until) as writer:
        for done, task in enumerate(tasks := plan(stale)):
            _compute(store, universe, task, until, writer)
            if progress is not None:
                progress("features", done + 1, len(tasks))
    report.rows = writer.rows
    return report


def plan(stale: pl.DataFrame) -> list[Task]:
    """Stale cells as tasks: instruments with the same run of days together, long runs cut, oldest first."""
    day = pl.col("day")
    gap = (day.diff() > pl.duration(days=_JOINED_DAYS)).fill_null(value=False).cum_sum().over("instrument")
    begun = (day - day.min().over("instrument", "run")).dt.total_days() // _DAYS_AT_ONCE
    runs = stale.sort("instrument", "day").with_columns(run=gap).with_columns(piece=begun)
    bounds = runs.group_by("instrument", "run", "piece").agg(first=day.min(), last=day.max())
    tasks = []
    for (first, last), group in bounds.sort("first", "last").group_by("first", "last", maintain_order=True):
        names = group["instrument"].sort().to_list()
        cells = stale.filter(pl.col("instrument").is_in(names) & day.is_between(first, last))
        tasks.append(Task(names, first, last, cells))
    return tasks


def read_bars(
    store: Store,
    universe: Universe,
    instruments: Sequence[str],
    first: date,
    until: datetime,
    *,
    as_of: datetime | None = None,
) -> Bars:
    """The bars on which features of ``instruments`` from the day ``first`` on depend, up to ``until``.

    ``as_of`` gives them as they were known then. Frames of wider bars have no ``open`` and no ``volume``.
    """
    begin = datetime.combine(first, time(), UTC)
    own = sorted({*instruments, *([universe.benchmark] if universe.benchmark else [])})
    others = sorted(set(universe.instruments) - set(own))

    def read(names: list[str], timeframe: Timeframe, days: int) -> pl.DataFrame:
        since = begin - timedelta(days=days)
        columns = _COLUMNS if timeframe is Timeframe.M15 else _WIDER_COLUMNS
        return long_reads(store).read(names, timeframe, since, until, as_of=as_of, columns=columns)

    # Side by side: most of each reading is waiting for the server.
    with ThreadPoolExecutor(3, "read-bars") as readers:
        coming = {timeframe: readers.submit(read, own, timeframe, days) for timeframe, days in LOOK_BACK.items()}
        others_bars = readers.submit(read, others, Timeframe.M15, MARKET_LOOK_BACK) if others else None
        bars = {timeframe: future.result() for timeframe, future in coming.items()}
        if others_bars is not None:
            bars[Timeframe.M15] = pl.concat([bars[Timeframe.M15], others_bars.result()])
    return bars


def features_as_of(
    store: Store,
    instruments: Sequence[str],
    start: datetime,
    end: datetime,
    as_of: datetime | None = None,
    *,
    benchmark: str = BENCHMARK,
) -> pl.DataFrame:
    """Features of ``[start, end)`` computed, not read: from the bars as they were known at ``as_of`` (default: now)."""
    universe = Universe.from_store(store, benchmark)
    bars = read_bars(store, universe, instruments, start.astimezone(UTC).date(), end, as_of=as_of)
    return compute_features(bars, start, end, benchmark=universe.benchmark, instruments=instruments)


class _Writer:
    """Writes in a thread of its own while the next rows are computed; at most two batches wait."""

    def __init__(self, store: Store, until: datetime) -> None:
        self._store, self._until = store, until
        self._thread = ThreadPoolExecutor(1, "write-features")
        self._waiting: list[Future[int]] = []
        self.rows = 0

    def put(self, frames: list[pl.DataFrame], cells: pl.DataFrame) -> None:
        """Write ``frames``, the rows of ``cells``."""
        while len(self._waiting) >= 2:
            self.rows += self._waiting.pop(0).result()
        work = self._thread.submit(self._write, frames, cells)
        self._waiting.append(work)

    def _write(self, frames: list[pl.DataFrame], cells: pl.DataFrame) -> int:
        return self._store.features.write(pl.concat(frames), cells, schema_hash(), self._until)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while kind is None and self._waiting:
                self.rows += self._waiting.pop(0).result()
        finally:
            self._thread.shutdown(cancel_futures=True)


def _compute(store: Store, universe: Universe, task: Task, until: datetime, writer: _Writer) -> None:
    """Compute a task and hand its rows over, several instruments in a batch."""
    begin = datetime.combine(task.first, time(), UTC)
    end = min(until, datetime.combine(task.last + timedelta(days=1), time(), UTC))
    bars = read_bars(store, universe, task.instruments, task.first, end)
    frames: list[pl.DataFrame] = []
    stale = task.cells.partition_by("instrument", as_dict=True)
    computed = feature_frames(bars, begin, end, universe.benchmark, task.instruments)
    names: list[str] = []
    for instrument, rows in zip(task.instruments, computed, strict=True):
        days = stale[(instrument,)]["day"]
        frames.append(rows.filter(pl.col("open_time").dt.date().is_in(days.implode())))
        names.append(instrument)
        if sum(map(len, frames)) >= BATCH_ROWS or instrument == task.instruments[-1]:
            writer.put(frames, task.cells.filter(pl.col("instrument").is_in(names)))
            frames, names = [], []
