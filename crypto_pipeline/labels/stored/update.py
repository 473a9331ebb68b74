"""Bring the labels of a span of days up to date: only days that are due are computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.arrays.grid import COLUMNS
from crypto_pipeline.arrays.panel import Flags, Panel
from crypto_pipeline.features.stored.update import BENCHMARK, Universe
from crypto_pipeline.labels.compute import SetupContext, find_setups, label
from crypto_pipeline.labels.finality import accounted, final
from crypto_pipeline.labels.stored import inputs
from crypto_pipeline.labels.stored.intrabar import StoredMinutes
from crypto_pipeline.labels.stored.signals import Signals
from crypto_pipeline.labels.strategies.base import DAY, TIMEFRAME, TRADED, Parameters
from crypto_pipeline.labels.strategies.dca import halts
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.lake.reads.bars import long_reads
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.coverage.cell_locks import EXPLAINING
from crypto_pipeline.store.research.labels import CELL_SCHEMA, LabelsWritten

#: Key of a cell.
_CELL = ["instrument", "day"]
#: 15m bars that are in memory at once (about 0.2 GB).
_TOGETHER = 2_000_000
#: Looked at again so soon where a bar is missing near the end of a horizon that is just over.
_AGAIN = timedelta(minutes=15)


@dataclass(slots=True)
class LabelReport:
    """Result of one pass. A cell is an instrument and a day of signals.

    Attributes:
        cells: Cells that were computed.
        new: Cells without labels before.
        stale: Cells whose bars or parameters had changed.
        waited: Cells with labels that waited for bars.
        setups: Signals of the cells.
        labels: Signals with a label.
        waiting: Signals whose outcome later bars decide.
        benchmark: The instrument whose market the setups of some strategies look at; None where it is not collected.
        written: Rows of the database.
    """

    cells: int = 0
    new: int = 0
    stale: int = 0
    waited: int = 0
    setups: int = 0
    labels: int = 0
    waiting: int = 0
    benchmark: str | None = None
    written: LabelsWritten = field(default_factory=LabelsWritten)

    def count_cells(self, due: pl.DataFrame) -> None:
        """Count cells that are due, by their ``reason``."""
        counts = dict(due.group_by("reason").len().iter_rows())
        self.cells, self.new = due.height, counts.get("new", 0)
        self.stale, self.waited = counts.get("stale", 0), counts.get("waiting", 0)


def bring_up_to_date(
    store: Store,
    strategy: Strategy,
    parameters: Parameters,
    start: datetime,
    end: datetime,
    instruments: Sequence[str] = (),
    *,
    now: datetime | None = None,
    everything: bool = False,
    benchmark: str = BENCHMARK,
) -> LabelReport:
    """Compute and store the labels of signals in ``[start, end)`` (whole UTC days) that are new, stale or were waiting.

    ``instruments``: default all that are traded. ``everything`` computes every day again. ``benchmark``: the setting
    ``feature_benchmark``; without such an instrument strategies that look at it have no setups. A second call finds
    nothing to do.

    Raises StoreError for an unknown instrument, and when the database fails.
    """
    options: dict[str, Any] = {"now": now, "everything": everything, "benchmark": benchmark}
    return bring_sets_up_to_date(store, strategy, {"": parameters}, start, end, instruments, **options)[""]


def bring_sets_up_to_date(
    store: Store,
    strategy: Strategy,
    sets: Mapping[str, Parameters],
    start: datetime,
    end: datetime,
    instruments: Sequence[str] = (),
    *,
    now: datetime | None = None,
    everything: bool = False,
    benchmark: str = BENCHMARK,
) -> dict[str, LabelReport]:
    """``bring_up_to_date`` of several parameter sets, by name: bars are read once for all of them."""
    moment = store.clock.now() if now is None else now
    tiers = traded(store, instruments)
    market = Universe.from_store(store, benchmark).benchmark
    reports = {name: LabelReport(benchmark=market) for name in sets}
    if not tiers or start >= end:
        return reports
    due = due_cells_of_sets(
        store, strategy, sets, (start, end), moment, tiers, everything=everything, benchmark=benchmark
    )
    for name, parameters in sets.items():
        reports[name].count_cells(due[name])
        if due[name].height:
            store.labels.declare(parameters.hash, strategy, parameters.model_dump(mode="json"))
    reach = max(map(inputs.look_back, sets.values())), max(map(inputs.look_ahead, sets.values()))
    every = pl.concat([cells.select(_CELL) for cells in due.values()]).unique()
    for cells, names in _pieces(every, reach[0]):
        read = _read(store, strategy, cells, {name: tiers[name] for name in names}, reach, moment, market)
        for name, parameters in sets.items():
            own = due[name].join(cells, on=_CELL, how="semi", maintain_order="left")
            if own.height:
                _compute(store, strategy, parameters, own, read, reports[name])
    return reports


def traded(store: Store, instruments: Sequence[str] = ()) -> dict[str, str]:
    """Tier by symbol of the instruments (default: every active one) of tiers that are traded."""
    rows = store.instruments.list(active_only=not instruments)
    tiers = {row.instrument.symbol: row.instrument.tier for row in rows}
    if unknown := [name for name in instruments if name not in tiers]:
        raise StoreError(f"unknown instrument {unknown[0]!r}: see `crypto-pipeline instruments list`")
    return {name: str(tiers[name]) for name in instruments or tiers if tiers[name] in TRADED}


def due_cells(
    store: Store,
    signals: Signals,
    tiers: Mapping[str, str],
    *,
    everything: bool = False,
    benchmark: str = BENCHMARK,
) -> pl.DataFrame:
    """Which instruments of ``tiers`` and days of ``signals`` are to be computed.

    Columns: ``instrument``, ``day``, ``inputs`` and ``reason`` (new, stale or waiting).
    """
    strategy, sets, span = signals.strategy, {"": signals.parameters}, (signals.start, signals.end)
    return due_cells_of_sets(
        store, strategy, sets, span, signals.now, tiers, everything=everything, benchmark=benchmark
    )[""]


def due_cells_of_sets(
    store: Store,
    strategy: Strategy,
    sets: Mapping[str, Parameters],
    span: tuple[datetime, datetime],
    now: datetime,
    tiers: Mapping[str, str],
    *,
    everything: bool = False,
    benchmark: str = BENCHMARK,
) -> dict[str, pl.DataFrame]:
    """``due_cells`` of several parameter sets, by name: data versions are read once for sets that look as far."""
    market = Universe.from_store(store, benchmark).benchmark
    versions: dict[tuple[int, int], pl.DataFrame] = {}
    due = {}
    for name, parameters in sets.items():
        signals, reach = Signals(strategy, parameters, *span, now), inputs.reach_of(parameters)
        if reach not in versions:
            versions[reach] = inputs.input_versions(store, signals, tiers, market)
        due[name] = _due_of(store, signals, tiers, versions[reach], everything=everything)
    return due


def _due_of(
    store: Store, signals: Signals, tiers: Mapping[str, str], current: pl.DataFrame, *, everything: bool
) -> pl.DataFrame:
    """The cells that are due, of those that ``current`` has the data versions of."""
    if everything:
        return current.select("instrument", "day", "inputs", pl.lit("stale").alias("reason"))
    strategy, parameters = signals.strategy, signals.parameters
    stored = store.labels.cells(strategy, parameters.hash, signals.start, signals.end, list(tiers))
    asked = [day for days in stored["minute_days"].drop_nulls() for day in days]
    minutes = {}
    if asked:
        first, last = midnight(min(asked)), midnight(max(asked)) + timedelta(days=1)
        minutes = inputs.minute_versions(store, first, last, list(tiers))
    return inputs.due(current, stored, minutes, parameters, signals.now)


def _pieces(todo: pl.DataFrame, apart: int) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    """Cells grouped so that their bars are read together: days that are near each other, some instruments at a time."""
    days = todo["day"].unique().sort().to_list()
    cuts = [0, *(i for i, (a, b) in enumerate(pairwise(days), 1) if (b - a).days > apart), len(days)]
    for first, until in pairwise(cuts):
        if first == until:
            continue
        stretch = todo.filter(pl.col("day").is_between(days[first], days[until - 1]))
        every = stretch["instrument"].unique().sort().to_list()
        each = ((days[until - 1] - days[first]).days + 2 * apart) * DAY
        together = max(1, _TOGETHER // each)
        for place in range(0, len(every), together):
            names = every[place : place + together]
            yield stretch.filter(pl.col("instrument").is_in(names)), names


@dataclass(frozen=True, slots=True)
class _Read:
    """What the labels of some instruments over one stretch of days are computed from, whatever the parameters."""

    panel: Panel
    context: SetupContext
    accounted: Flags
    minute_days: Mapping[tuple[str, date], int]
    tiers: Mapping[str, str]
    now: datetime


def _read(
    store: Store,
    strategy: Strategy,
    cells: pl.DataFrame,
    tiers: Mapping[str, str],
    reach: tuple[int, int],
    now: datetime,
    benchmark: str | None,
) -> _Read:
    first, last = cells["day"].min(), cells["day"].max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    begin = midnight(first) - timedelta(days=reach[0])
    end = min(midnight(last) + timedelta(days=1 + reach[1]), TIMEFRAME.floor(now))
    names = list(tiers)
    # Versions first: a bar that changes after they were read makes the cell stale once more.
    minute_days = inputs.minute_versions(store, begin, end, names)
    bars = long_reads(store).read(names, TIMEFRAME, begin, end, columns=BAR_COLUMNS)
    panel = Panel.from_bars(bars, names, begin, end, TIMEFRAME)
    context = setup_context(store, strategy, panel, begin, end, benchmark)
    explained = store.ledger.open(TIMEFRAME, names, EXPLAINING, begin, end)
    return _Read(panel, context, accounted(panel, explained), minute_days, tiers, now)


def _compute(
    store: Store, strategy: Strategy, parameters: Parameters, cells: pl.DataFrame, read: _Read, report: LabelReport
) -> None:
    """Compute cells under one set of parameters, and store them in one transaction."""
    panel, tiers, now = read.panel, read.tiers, read.now
    source = StoredMinutes(store, panel)
    setups = find_setups(strategy, panel, read.context, parameters, tiers)
    numbers = setups["number"].to_numpy()
    labelled = label(strategy, panel, setups, parameters, tiers, source).with_columns(
        pl.Series("instrument", panel.names, dtype=pl.String).gather(numbers),
        pl.col("signal_ts").dt.date().alias("day"),
    )
    ready = final(panel, read.accounted, numbers, setups["place"].to_numpy(), parameters.horizon, now)
    labelled = labelled.with_columns(pl.Series("ready", ready, dtype=pl.Boolean))
    summaries = _summary(cells, labelled, source.days, parameters, now, read.minute_days)
    final_labels = labelled.filter("ready").join(cells.select(*_CELL, data_version="inputs"), on=_CELL)
    rows = final_labels.select("instrument", "data_version", *strategy.definition.table.schema)
    report.written.add(store.labels.write(strategy.definition.table, parameters.hash, summaries, rows))
    report.setups += int(summaries["setups"].sum())
    report.labels += int(summaries["labels"].sum())
    report.waiting += int(summaries["waiting"].sum())


def setup_context(
    store: Store,
    strategy: Strategy,
    panel: Panel,
    begin: datetime,
    end: datetime,
    benchmark: str | None,
    *,
    as_of: datetime | None = None,
) -> SetupContext:
    """The other bars that the strategy's setups look at: 1h bars and the benchmark's, as they were known at ``as_of``
    (default: now).
    """

    def read(names: Sequence[str], timeframe: Timeframe) -> Panel:
        bars = long_reads(store).read(names, timeframe, begin, end, as_of=as_of, columns=BAR_COLUMNS)
        return Panel.from_bars(bars, names, begin, end, timeframe)

    uses = strategy.definition
    hours = read(panel.names, Timeframe.H1) if uses.uses_hours else None
    if not uses.uses_benchmark or benchmark is None:
        return SetupContext(_HALTED, hours)
    return SetupContext(halts(read([benchmark], TIMEFRAME).close[0]), hours)


#: Nothing is known of the market: no setup that asks for it.
_HALTED = np.ones(1, np.bool_)
#: What setups and labels are made of.
BAR_COLUMNS = ["instrument", "open_time", *COLUMNS]


def _summary(
    cells: pl.DataFrame,
    labelled: pl.DataFrame,
    asked: Mapping[str, set[date]],
    parameters: Parameters,
    now: datetime,
    minute_days: Mapping[tuple[str, date], int],
) -> pl.DataFrame:
    """Per cell: setups, labels, waiting, when to look again, and the days whose minutes decided (of ``asked``)."""
    end = pl.col("entry_ts") + TIMEFRAME.delta * parameters.horizon
    # Over, but a bar is missing: its coming makes the cell stale, except while the day it belongs to still runs.
    recent = pl.when(end > now - timedelta(days=1)).then(pl.lit(now + _AGAIN).cast(UTC_MS))
    again = pl.when(end > now).then(end).otherwise(recent)
    counted = labelled.group_by("instrument", "day").agg(
        pl.len().cast(pl.Int32).alias("setups"),
        pl.col("ready").sum().cast(pl.Int32).alias("labels"),
        (~pl.col("ready")).sum().cast(pl.Int32).alias("waiting"),
        again.filter(~pl.col("ready")).min().cast(UTC_MS).alias("waits_until"),
    )
    joined = cells.join(counted, on=["instrument", "day"], how="left", maintain_order="left")
    joined = joined.with_columns(pl.col("setups", "labels", "waiting").fill_null(0)).drop("reason")
    reach = timedelta(days=inputs.look_ahead(parameters))
    keys = joined.select("instrument", "day").rows()
    near = [sorted(day for day in asked.get(name, ()) if cell - reach <= day <= cell + reach) for name, cell in keys]
    versions = [inputs.minutes_text(name, days, minute_days) for (name, _), days in zip(keys, near, strict=True)]
    return joined.with_columns(
        pl.Series("minute_days", near, dtype=CELL_SCHEMA["minute_days"]),
        pl.Series("minute_versions", versions, dtype=pl.String),
    )
