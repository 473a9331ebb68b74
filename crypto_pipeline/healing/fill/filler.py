"""Filling what is missing of one timeframe: from stored trades, from the venue, or from one that stands in for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from crypto_pipeline.healing import plan
from crypto_pipeline.healing import span_frames as span
from crypto_pipeline.healing.fill.explain import Explainer
from crypto_pipeline.healing.fill.failover import Failover
from crypto_pipeline.healing.fill.fetch import Collected, collect
from crypto_pipeline.healing.fill.stored_trades import fill_from_trades
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.healing.reports import Counts, HealReport, Progress
from crypto_pipeline.market.bars import Source
from crypto_pipeline.market.gaps.arithmetic import intersect, merge_spans, subtract
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues import FetchPlan, Venue


@dataclass(frozen=True, slots=True)
class Manner:
    """How holes are filled."""

    #: 1m bars are made of stored trades where those prove them, before the venue is asked
    from_trades: bool = False
    #: what the venue's 1m bars are called, if not by the client's own name for them
    mark: Source | None = None
    #: only these spans (``instrument``, ``start``, ``end``) of 1m; None: whatever is missing
    only: pl.DataFrame | None = None
    #: also what waits for its next attempt: a person asked for just this span
    ask_now: bool = False


HISTORY = Manner()
#: A span that a person named.
NAMED = Manner(ask_now=True)
#: The live processor: what the stream brought is not asked for again.
LIVE = Manner(from_trades=True)


class Filler:
    """Fills one timeframe at a time."""

    def __init__(self, store: Store, venue: Venue, settings: Settings, failover: Failover) -> None:
        self.store, self.venue, self.settings, self.failover = store, venue, settings, failover

    async def fill(
        self,
        timeframe: Timeframe,
        start: datetime,
        end: datetime,
        known: pl.DataFrame,
        horizon: Horizon,
        report: HealReport,
        progress: Progress,
        manner: Manner = HISTORY,
    ) -> None:
        """Store what is missing in ``[start, end)`` and explain what the venue did not state.

        ``known`` has the instruments with ``venue_symbol``, ``listed``, ``delisted`` and ``status``.
        """
        names = known["instrument"].to_list()
        explainer = Explainer(self.store, self.venue, self.settings, timeframe, horizon, known)
        explainer.outside_listing(start, end)
        back = self.failover.to_take_back(timeframe, names, start, end, horizon.now)
        wanted = plan.missing(self.store, timeframe, start, end, names, horizon)
        if manner.ask_now:
            lost = plan.lost_in_archive(self.store, timeframe, start, end, names, horizon)
            wanted = merge_spans(pl.concat([wanted, lost]))
        if timeframe is Timeframe.M1 and manner.only is not None:
            wanted = intersect(wanted, manner.only)
        counts = report.of(timeframe)
        found = wanted if manner.ask_now else plan.due(self.store, timeframe, wanted, horizon.now)
        if timeframe is Timeframe.M1 and manner.from_trades and self.venue.traits.contiguous_trade_ids:
            asked = merge_spans(pl.concat([wanted, back.select(*span.SPAN_SCHEMA)]))
            made = await asyncio.to_thread(fill_from_trades, self.store, self.venue.name, asked, counts)
            found = merge_spans(pl.concat([found, intersect(wanted, made)]))
            wanted = subtract(wanted, made)
        due = intersect(found, wanted)
        # Not every venue states bars of every width; what cannot be rolled up there stays missing, and is seen.
        if timeframe in self.venue.traits.timeframes and not (due.is_empty() and back.is_empty()):
            counts.planned += span.bar_count(due, timeframe)
            await self._fetch(timeframe, due, back, known, horizon, explainer, report, progress, manner)
            wanted = plan.missing(self.store, timeframe, start, end, names, horizon)
        counts.still_missing += span.bar_count(wanted, timeframe)
        _count_gaps(counts, found, wanted)

    async def fetch(
        self,
        timeframe: Timeframe,
        spans: pl.DataFrame,
        known: pl.DataFrame,
        horizon: Horizon,
        report: HealReport,
        progress: Progress,
    ) -> None:
        """Ask the venue for ``spans`` whatever is expected, store what it states, and explain the rest."""
        explainer = Explainer(self.store, self.venue, self.settings, timeframe, horizon, known)
        nothing = self.failover.to_take_back(timeframe, [], horizon.start, horizon.now, horizon.now)
        report.of(timeframe).planned += span.bar_count(spans, timeframe)
        await self._fetch(timeframe, spans, nothing, known, horizon, explainer, report, progress, NAMED)

    async def _fetch(
        self,
        timeframe: Timeframe,
        due: pl.DataFrame,
        back: pl.DataFrame,
        known: pl.DataFrame,
        horizon: Horizon,
        explainer: Explainer,
        report: HealReport,
        progress: Progress,
        manner: Manner,
    ) -> None:
        """Ask the venue for what is ``due`` and what others stated in its stead; those, where it cannot be asked."""
        counts = report.of(timeframe)
        if self.failover.down is not None:
            await self._stand_in(timeframe, due, horizon, self.failover.down, report)
            return
        asked = merge_spans(pl.concat([due, back.select(*span.SPAN_SCHEMA)]))
        collected = await collect(
            self.store,
            self.venue,
            timeframe,
            _fetch_plans(asked, known, timeframe, report),
            counts,
            progress,
            batch_rows=self.settings.write_batch_rows,
            mark=manner.mark if timeframe is Timeframe.M1 else None,
            witnesses=dict(known.select("instrument", "venue_symbol").iter_rows()),
        )
        report.problems.update(collected.failed)
        await explainer.explain(collected, counts, progress)
        await asyncio.to_thread(self.failover.taken_back, back, collected.answered_spans(), horizon.now)
        unasked = _unasked(due, collected)
        if unasked.height:
            self.failover.because = next(iter(collected.unavailable.values()))
            if not collected.answered:  # it will not answer for the wider bars of this pass either
                self.failover.down = self.failover.because
            await self._stand_in(timeframe, unasked, horizon, self.failover.because, report)

    async def _stand_in(
        self, timeframe: Timeframe, wanted: pl.DataFrame, horizon: Horizon, because: str, report: HealReport
    ) -> None:
        names = wanted["instrument"].unique().to_list()
        report.problems.update(dict.fromkeys(names, because))
        report.of(timeframe).stood_in += await self.failover.stand_in(
            timeframe, wanted, horizon, "unavailable", because
        )


def _unasked(due: pl.DataFrame, collected: Collected) -> pl.DataFrame:
    """What of ``due`` the venue could not be asked for."""
    failed = due.filter(pl.col("instrument").is_in(list(collected.unavailable)))
    return subtract(failed, collected.answered_spans())


def _count_gaps(counts: Counts, found: pl.DataFrame, left: pl.DataFrame) -> None:
    """A gap is filled when nothing of it is missing any more: each bar is stored, or explained."""
    counts.gaps += found.height
    open_parts = intersect(found, left).select("instrument", pl.col("start").alias("part"))
    holed = open_parts.sort("part").join_asof(
        found.sort("start"),
        left_on="part",
        right_on="start",
        by="instrument",
        strategy="backward",
        check_sortedness=False,
    )
    counts.gaps_filled += found.height - holed.select("instrument", "start").unique().height


def _fetch_plans(spans: pl.DataFrame, known: pl.DataFrame, timeframe: Timeframe, report: HealReport) -> list[FetchPlan]:
    symbols = dict(known.select("instrument", "venue_symbol").iter_rows())
    plans = []
    for (instrument,), rows in spans.partition_by("instrument", as_dict=True).items():
        symbol = symbols.get(instrument)
        if symbol is None:
            report.problems[instrument] = "the venue does not list it"
            continue
        plans.append(FetchPlan(instrument, symbol, timeframe, list(rows.select("start", "end").iter_rows())))
    return plans
