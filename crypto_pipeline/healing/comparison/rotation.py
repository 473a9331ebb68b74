"""Comparing all stored bars with the venue's own: once in full, then again in rotation.

A day is due when it was never compared, when its bars changed since, or when its comparison is long ago. Days are
compared in units of bounded size, the newest change first. Each unit is written down when it is done, so a pass may end
at any moment and the next one continues there. A pass uses a small share of the venue's request budget, and waits for
more urgent work before every unit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta

import polars as pl

from crypto_pipeline.healing.comparison.agreement import comparable_spans
from crypto_pipeline.healing.comparison.reconciler import Reconciler
from crypto_pipeline.healing.passes import HealingPass
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.healing.reports import ReconcileReport, silent
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.gaps.arithmetic import merge_spans, whole_cells
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues import FetchPlan, MalformedAnswer, Venue

log = logging.getLogger(__name__)

#: Bars of one unit: some seconds of requests, some megabytes of memory.
UNIT_BARS = 60_000
#: A day with a disagreement, or one that could not be compared, is due again after this time: the venue may have
#: corrected itself.
DISPUTED_AGAIN = timedelta(days=1)

#: Waits until no more urgent work is being done.
GiveWay = Callable[[], Awaitable[None]]


async def at_once() -> None:
    """Do not wait."""


@dataclass(slots=True)
class ComparisonReport(ReconcileReport):
    """One pass of the comparison.

    ``days`` are the cells (instrument, timeframe, day) that were compared, ``left`` those still due; ``ended`` is the
    reason of its end.
    """

    days: int = 0
    left: int = 0
    ended: str = "nothing more is due"
    units: int = 0
    failed: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return asdict(self)


def cells_to_compare(store: Store, venue: Venue, settings: Settings, horizon: Horizon) -> pl.DataFrame:
    """The cells that are due (see store.comparisons), in the order in which they are compared.

    First the cells that were never compared or changed since, then those of the rotation; the narrowest timeframe
    first, because repairs there change the wider ones; within each, the newest change and the newest day first.
    """
    firsts = {timeframe: horizon.first_open(timeframe) for timeframe in Timeframe}
    spans = comparable_spans(venue.traits, firsts, horizon.now)
    again = timedelta(days=settings.compare_again_days)
    rows = store.comparisons.due(venue.name, spans, horizon.now, again, min(again, DISPUTED_AGAIN))
    width = pl.col("timeframe").cast(pl.Enum([str(timeframe) for timeframe in Timeframe]))
    newest = pl.col("updated_at").max().over("instrument", "timeframe", "changed")
    order = [~pl.col("changed"), width, newest, "instrument", "day"]
    return rows.sort(order, descending=[False, False, True, False, True])


def units(cells: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """``cells`` in their order, cut into frames of one timeframe and at most UNIT_BARS bars, or one cell."""
    for (timeframe, _), rows in cells.partition_by("timeframe", "changed", as_dict=True, maintain_order=True).items():
        yield from rows.iter_slices(max(1, UNIT_BARS // Timeframe(timeframe).bars_per_cell))


class ComparisonPass:
    """One pass over the days that are due, of the instruments that the venue lists."""

    def __init__(self, work: HealingPass) -> None:
        self.work = replace(work, instruments=work.instruments.drop_nulls("venue_symbol"))
        self.store, self.venue, self.horizon = work.store, work.venue, work.horizon
        self.report = ComparisonReport()

    async def run(self, seconds: float, give_way: GiveWay = at_once) -> ComparisonReport:
        """Compare what is due, for about ``seconds`` at most."""
        report, ends = self.report, time.monotonic() + seconds
        if self.work.failover.down is not None:
            report.ended = f"the venue cannot be asked: {self.work.failover.down}"
            return report
        cells = cells_to_compare(self.store, self.venue, self.work.settings, self.horizon)
        cells = cells.filter(pl.col("instrument").is_in(self.work.names))
        report.left = cells.height
        total, done = int(cells["present"].sum()), 0
        for unit in units(cells):
            if time.monotonic() >= ends:
                report.ended = "the time of one run is over; the next one goes on"
                break
            await give_way()
            if not await self._compare(unit):
                report.ended = f"the venue cannot be asked: {next(iter(report.problems.values()))}"
                break
            done += int(unit["present"].sum())
            self.work.progress("compared with the venue", done, total)
        return report

    async def _compare(self, unit: pl.DataFrame) -> bool:
        """Compare one unit. False: the venue answered for no instrument of it."""
        failed, unavailable = await self._attempt(unit)
        parts = failed.partition_by("instrument")
        # One bad page must not prevent the comparison of the days around it: request smaller and smaller parts.
        while parts:
            rows = parts.pop()
            if rows.height == 1:
                instrument, timeframe, day = rows.select("instrument", "timeframe", "day").row(0)
                self.report.failed.append(f"{instrument} {timeframe} {day}")
                await asyncio.to_thread(self._put_off, rows, self.report.problems[instrument])
                continue
            middle = rows.height // 2
            for half in (rows[:middle], rows[middle:]):
                still, _ = await self._attempt(half)
                if still.height:
                    parts.append(still)
        return not set(unit["instrument"]) <= unavailable

    def _put_off(self, cells: pl.DataFrame, because: str) -> None:
        """Write down that cells could not be compared, and why; they are due again a day later."""
        for (timeframe,), part in cells.group_by("timeframe", maintain_order=True):
            rows = []
            for instrument, day in part.select("instrument", "day").iter_rows():
                log.warning("%s %s %s is not compared: %s", instrument, timeframe, day, because)
                rows.append((instrument, midnight(day), f"not compared: {because}", ""))
            self.store.bars_apart.refuse_many(self.venue.name, Timeframe(str(timeframe)), rows, len(rows))
        nothing = [pl.col("present").alias("stored"), pl.lit(0).alias("compared"), pl.lit(0).alias("disagreed")]
        self.store.comparisons.record(cells.with_columns(nothing), self.venue.name, self.horizon.now)
        self.report.left -= cells.height

    async def _attempt(self, unit: pl.DataFrame) -> tuple[pl.DataFrame, set[str]]:
        """Compare the cells at once.

        Returns the cells of instruments whose answer could not be read, and the names of instruments without an answer.
        """
        timeframe = Timeframe(unit["timeframe"][0])
        reconciler = Reconciler(replace(self.work, progress=silent))
        await reconciler.compare(timeframe, self._plans(timeframe, unit), unit)
        self.report.add(reconciler.report)
        compared = unit.filter(~pl.col("instrument").is_in(list(reconciler.report.problems)))
        self.report.units += 1
        self.report.days += compared.height
        self.report.left -= compared.height
        unreadable = [name for name, error in reconciler.errors.items() if isinstance(error, MalformedAnswer)]
        refused = [name for name, error in reconciler.errors.items() if error.permanent and name not in unreadable]
        for name in refused:
            mine = unit.filter(pl.col("instrument") == name)
            await asyncio.to_thread(self._put_off, mine, reconciler.report.problems[name])
        away = set(reconciler.errors) - {*unreadable, *refused}
        return unit.filter(pl.col("instrument").is_in(unreadable)), away

    def _plans(self, timeframe: Timeframe, unit: pl.DataFrame) -> list[FetchPlan]:
        symbols = self.work.venue_symbols
        bounds = whole_cells(unit, timeframe).select("instrument", "start", "end")
        merged = merge_spans(bounds.cast(span.SPAN_SCHEMA))  # type: ignore[arg-type]
        return [
            FetchPlan(str(name), str(symbols[str(name)]), timeframe, rows.select("start", "end").rows())
            for (name,), rows in merged.partition_by("instrument", as_dict=True, maintain_order=True).items()
        ]
