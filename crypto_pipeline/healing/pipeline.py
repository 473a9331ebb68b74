"""The interface of healing: bring spans up to date, reconcile them with the venue, verify them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import polars as pl

from crypto_pipeline.healing import plan
from crypto_pipeline.healing.checks.coverage_figures import coverage_figures
from crypto_pipeline.healing.checks.freshness import Thresholds
from crypto_pipeline.healing.checks.stored_bars import MINUTE_CHECKS, freshness, verify
from crypto_pipeline.healing.checks.zero_volume import silence_is_plausible
from crypto_pipeline.healing.comparison import rotation
from crypto_pipeline.healing.comparison.agreement import Agreement, agreements, stands_for, venue_agreement
from crypto_pipeline.healing.comparison.reconciler import Reconciler
from crypto_pipeline.healing.corporate_actions import sync_corporate_actions
from crypto_pipeline.healing.failover import Failover
from crypto_pipeline.healing.fill.filler import fetch_again, fill
from crypto_pipeline.healing.fill.remaining import report_missing, unfinished_timeframes
from crypto_pipeline.healing.listings import look_for_listings, sync_instruments
from crypto_pipeline.healing.passes import HISTORY, FillMode, FillPass, HealingPass
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.healing.reports import HealReport, Progress, ReconcileReport, silent
from crypto_pipeline.healing.rollup import roll_up_span
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.gaps.arithmetic import intersect
from crypto_pipeline.market.gaps.classification import GapState
from crypto_pipeline.market.timeframes import LOWER, Timeframe
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.venues import StandIns, Venue, make_stand_ins, make_venue

#: Part of the venue's request budget that history leaves to live passes, which need a page per instrument and minute.
KEPT_FOR_LIVE = 0.05
#: Timeframes whose newest days each check compares with the venue; also the default of `reconcile`.
RECONCILED = (Timeframe.M5, Timeframe.M15, Timeframe.H1)
#: How far back 1m bars are compared while no wider bar was: one answer of any venue.
_FIRST_MINUTES = timedelta(hours=11)


class Pipeline:
    """Everything that healing does with one store and one venue. Use from one event loop."""

    def __init__(
        self,
        store: Store,
        venue: Venue,
        settings: Settings,
        now: datetime | None = None,
        stand_ins: StandIns | None = None,
    ) -> None:
        self.store, self.venue, self.settings = store, venue, settings
        others = stand_ins or StandIns(venue.name, lambda name: make_venue(settings, venue=name))
        self.failover = Failover(store, venue, others, settings)
        self._fixed_now = now

    @classmethod
    @asynccontextmanager
    async def open(
        cls, store: Store, settings: Settings, *, live: bool = False, keep: float = KEPT_FOR_LIVE
    ) -> AsyncIterator[Pipeline]:
        """A pipeline with the venue that the settings name, sharing the venue's request budget with all processes.

        Unless it is ``live``, it leaves the part ``keep`` (0 to 1) of the budget to others.
        """
        budget = partial(store.budgets.of, keep=0.0 if live else keep)
        venue = make_venue(settings, budget(settings.venue))
        stand_ins = make_stand_ins(settings, budget)
        try:
            yield cls(store, venue, settings, stand_ins=stand_ins)
        finally:
            await stand_ins.close()
            await venue.close()

    # Instruments and horizon

    async def horizon(self) -> Horizon:
        """What is expected now, by the clock of the venue or of one that stands in for it. Raises VenueError."""
        now = self._fixed_now or await self.failover.now()
        return self.horizon_at(now)

    def horizon_at(self, now: datetime) -> Horizon:
        """What is expected when the venue's clock shows ``now``."""
        policy = plan.retention_policy(self.settings)
        settle = self.settings.settle_delay + self.venue.traits.delay.total_seconds()
        return Horizon.of(now, self.settings.history_days, settle, policy)

    def choose(self, symbols: Sequence[str] = ()) -> list[str]:
        """The active instruments called ``symbols`` (all when empty). Raises StoreError naming an unknown one."""
        active = [row.instrument.symbol for row in self.store.instruments.list(venue=self.venue.name)]
        if not symbols:
            return active
        if unknown := [symbol for symbol in symbols if symbol not in set(active)]:
            raise StoreError(
                f"unknown instrument {', '.join(unknown)}: `crypto-pipeline instruments list` shows what is collected, "
                f"`crypto-pipeline instruments add {unknown[0]}` adds it"
            )
        return list(symbols)

    def collected(self, symbols: Sequence[str] = ()) -> tuple[list[str], list[str]]:
        """The active instruments called ``symbols`` (all when empty), and those of ``symbols`` that were removed.

        For work that was requested a while ago: an instrument that was removed since must not stop the others. Raises
        StoreError naming an instrument that was never added.
        """
        rows = self.store.instruments.list(active_only=False, venue=self.venue.name)
        active = {row.instrument.symbol: row.active for row in rows}
        removed = [one for one in symbols if active.get(one) is False]
        asked = [one for one in symbols if one not in removed]
        return (self.choose(asked) if asked or not symbols else []), removed

    async def sync_instruments(self) -> pl.DataFrame:
        """Take over what the venue says of every active instrument; returns one row each."""
        return await sync_instruments(self.store, self.venue, (await self.horizon()).now)

    # Bringing up to date

    async def backfill(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        instruments: Sequence[str] = (),
        timeframes: Sequence[Timeframe] = (),
        progress: Progress = silent,
        mode: FillMode = HISTORY,
        horizon: Horizon | None = None,
    ) -> HealReport:
        """Bring every timeframe (or those given) of ``[start, end)`` up to date, finest first.

        A caller that knows the venue's time gives the ``horizon``; otherwise the venue is asked. Raises VenueError when
        it does not answer and no venue stands in for it, StoreError for an unknown instrument.
        """
        chosen = self.choose(instruments)
        horizon = horizon or await self.horizon()
        work = self._fill_pass(chosen, horizon, progress, mode)
        if self.failover.down is None:
            unlisted = work.instruments.filter(pl.col("venue_symbol").is_null())["instrument"].to_list()
            problems = await look_for_listings(self.store, self.venue.name, unlisted, self.sync_instruments)
            work.report.problems.update(problems)
            work = replace(work, instruments=self._listings(chosen))
            problems = await sync_corporate_actions(self.store, self.venue, work.instruments, horizon.now)
            work.report.problems.update(problems)
        self._refresh(work, list(Timeframe))
        await self._bring_all(work, list(timeframes) or list(Timeframe), start, end)
        return work.report

    async def bring_up_to_date(
        self,
        timeframe: Timeframe,
        start: datetime | None,
        end: datetime | None,
        instruments: Sequence[str],
        progress: Progress = silent,
        mode: FillMode = HISTORY,
    ) -> HealReport:
        """Bring one timeframe of ``[start, end)`` up to date. Raises VenueError and StoreError as ``backfill``."""
        work = self._fill_pass(instruments, await self.horizon(), progress, mode)
        self._refresh(work, [timeframe])
        await self._bring_all(work, [timeframe], start, end)
        return work.report

    async def bring_back(self, timeframe: Timeframe, spans: pl.DataFrame, progress: Progress = silent) -> HealReport:
        """Restore bars of ``spans`` (``instrument``, ``start``, ``end``) that were stored once, however old they are.

        Also of instruments that are no longer collected. Bars are rolled up where possible; the others are requested.
        """
        if spans.is_empty():
            return HealReport()
        start, end = spans.select(pl.col("start").min(), pl.col("end").max()).row(0)
        horizon = await self.horizon()
        horizon = replace(horizon, start=min(horizon.start, start), policy=None)
        work = self._fill_pass(spans["instrument"].unique().to_list(), horizon, progress)
        if timeframe in LOWER:
            await asyncio.to_thread(roll_up_span, work, timeframe, start, end, work.counts(timeframe), progress)
            states = [*plan.OPEN_UNEXPLAINED, str(GapState.UNFILLABLE)]
            rows = self.store.ledger.open(timeframe, work.names, states, start, end)
            spans = intersect(spans, rows.select(*span.SPAN_SCHEMA))
        if spans.height:
            await fetch_again(work, timeframe, spans)
        return work.report

    def _pass(self, instruments: Sequence[str], horizon: Horizon, progress: Progress = silent) -> HealingPass:
        return HealingPass(**self._parts(instruments), horizon=horizon, progress=progress)

    def _fill_pass(
        self, instruments: Sequence[str], horizon: Horizon, progress: Progress, mode: FillMode = HISTORY
    ) -> FillPass:
        return FillPass(**self._parts(instruments), horizon=horizon, progress=progress, mode=mode)

    def _parts(self, instruments: Sequence[str]) -> dict[str, Any]:
        shared = {"store": self.store, "venue": self.venue, "settings": self.settings, "failover": self.failover}
        return {**shared, "instruments": self._listings(instruments)}

    def _refresh(self, work: HealingPass, timeframes: Sequence[Timeframe]) -> None:
        # Not cut to the listing: bars outside of it are explained in the ledger, where people look for reasons.
        plan.refresh_expected(self.store, work.instruments.select("instrument", "calendar"), work.horizon, timeframes)

    def _listings(self, instruments: Sequence[str]) -> pl.DataFrame:
        """The instruments as the store knows them and their listings on the venue (see HealingPass)."""
        return self.store.instruments.frame(self.venue.name).filter(pl.col("instrument").is_in(list(instruments)))

    async def _bring_all(
        self, work: FillPass, timeframes: Sequence[Timeframe], start: datetime | None, end: datetime | None
    ) -> None:
        """Bring each timeframe up to date, beginning with the first that has anything to do: the wider ones follow."""
        spans = {timeframe: work.horizon.clip(timeframe, start, end) for timeframe in timeframes}
        spans = {timeframe: bounds for timeframe, bounds in spans.items() if bounds[0] < bounds[1]}
        unfinished = await asyncio.to_thread(unfinished_timeframes, work, spans)
        begun = False
        for timeframe, (begin, until) in spans.items():
            counts = work.counts(timeframe)
            begun = begun or work.mode.ask_now or timeframe in unfinished
            if begun:
                if timeframe in LOWER:
                    await asyncio.to_thread(roll_up_span, work, timeframe, begin, until, counts, work.progress)
                await fill(work, timeframe, begin, until)
        await asyncio.to_thread(self.failover.tell, minutes=Timeframe.M1 in timeframes)
        await asyncio.to_thread(report_missing, work, spans)

    # Comparing and verifying

    async def reconcile(
        self,
        start: datetime,
        end: datetime,
        instruments: Sequence[str] = (),
        timeframes: Sequence[Timeframe] = RECONCILED,
        reread: bool = False,
        progress: Progress = silent,
    ) -> ReconcileReport:
        """Compare our bars of ``[start, end)`` with the venue's own, request again what disagrees, record disputes.

        ``reread`` asks the venue for every 1m bar of the span again as well, and takes over what it revised.
        """
        horizon = await self.horizon()
        reconciler = Reconciler(self._pass(self.choose(instruments), horizon, progress))
        return await reconciler.run(start, end, timeframes, reread=reread)

    async def verify(self, timeframe: Timeframe, start: datetime, end: datetime) -> list[CheckOutcome]:
        """Every check of one timeframe on ``[start, end)``; agreement with the venue is sampled at its newest end.

        Give it a span that `span_to_verify` has widened, and record the outcomes with that span.
        """
        horizon = await self.horizon()
        limits = Thresholds.of(self.settings)
        outcomes = await asyncio.to_thread(verify, self.store, timeframe, start, end, horizon, limits, self.venue.name)
        if timeframe is Timeframe.M1:
            outcomes = await asyncio.to_thread(self._look_at_silence, outcomes, start, end, horizon)
        figures = coverage_figures(self.store, timeframe, start, end, horizon, self.venue.name)
        outcomes.append(await self._verify_agreement(timeframe, start, end, horizon, int(figures["present"])))
        return [replace(one, figures={**figures, "offending": one.offenders.height, **one.figures}) for one in outcomes]

    async def verify_venue(self, timeframe: Timeframe, start: datetime, end: datetime) -> list[CheckOutcome]:
        """The checks of one timeframe that the series of each venue have for themselves: freshness and agreement.

        By the last known time, and without a new comparison, while the venue does not answer.
        """
        status = await self.failover.probe()
        now = await asyncio.to_thread(self.store.clock.now) if status.time is None else status.time
        horizon, limits, own = self.horizon_at(now), Thresholds.of(self.settings), self.venue.name
        fresh = await asyncio.to_thread(freshness, self.store, timeframe, horizon, limits, own)
        if status.reachable:
            return [fresh, await self._verify_agreement(timeframe, start, end, horizon, None)]
        agreement = (await asyncio.to_thread(self.agreements, horizon, [timeframe]))[timeframe]
        return [fresh, venue_agreement(self.store, agreement, 0, agreement.stored)]

    async def _verify_agreement(
        self, timeframe: Timeframe, start: datetime, end: datetime, horizon: Horizon, stored: int | None
    ) -> CheckOutcome:
        """Compare the newest end and evaluate the agreement. ``stored``: bars that should have been compared."""
        compared = await self._compare_newest(timeframe, start, end, horizon)
        agreement = (await asyncio.to_thread(self.agreements, horizon, [timeframe]))[timeframe]
        return venue_agreement(self.store, agreement, compared, agreement.stored if stored is None else stored)

    async def _compare_newest(self, timeframe: Timeframe, start: datetime, end: datetime, horizon: Horizon) -> int:
        """Compare the newest end of ``[start, end)`` with the venue; returns how many bars were compared.

        This is done for RECONCILED; for another timeframe only while no comparison counts for it, so that its check
        has a result before the comparison of everything has begun.
        """
        if timeframe not in RECONCILED:
            # 15m counts for 30m of a venue without such bars; for 1m no narrower timeframe counts
            speaks = stands_for(timeframe, self.venue.traits) is timeframe or timeframe is Timeframe.M1
            if not speaks or (await asyncio.to_thread(self.agreements, horizon, [timeframe]))[timeframe].compared:
                return 0
        _, until = horizon.clip(timeframe, start, end)
        days = timedelta(days=self.settings.reconcile_sample_days)
        sample = until - (_FIRST_MINUTES if timeframe is Timeframe.M1 else days)
        report = await self.reconcile(max(start, sample), until, timeframes=[timeframe])
        return sum(report.compared.values())

    async def agreement_checks(self, timeframes: Sequence[Timeframe]) -> list[CheckOutcome]:
        """The check of agreement of each of ``timeframes``, by the recorded comparisons."""
        found = await asyncio.to_thread(self.agreements, await self.horizon(), timeframes)
        return [venue_agreement(self.store, one, 0, one.stored) for one in found.values()]

    def agreements(self, horizon: Horizon, timeframes: Sequence[Timeframe]) -> dict[Timeframe, Agreement]:
        """How far each of ``timeframes`` was compared with the venue's own bars."""
        return agreements(self.store, self.venue.name, self.venue.traits, horizon.now, timeframes)

    # The comparison of everything

    async def due_for_comparison(self) -> pl.DataFrame:
        """The days to compare with the venue's own bars now (see healing.comparison.rotation)."""
        return await asyncio.to_thread(
            rotation.cells_to_compare, self.store, self.venue, self.settings, await self.horizon()
        )

    async def compare_due(
        self,
        seconds: float,
        progress: Progress = silent,
        give_way: rotation.GiveWay = rotation.at_once,
    ) -> rotation.ComparisonReport:
        """Compare the days that are due, for about ``seconds``; the next call continues where this one ended."""
        horizon = await self.horizon()
        comparison = rotation.ComparisonPass(self._pass(self.choose(), horizon, progress))
        return await comparison.run(seconds, give_way)

    def _look_at_silence(
        self, outcomes: list[CheckOutcome], start: datetime, end: datetime, horizon: Horizon
    ) -> list[CheckOutcome]:
        """The outcomes and that of the check of silence; `accounted_for` also states the share of traded minutes."""
        start, end = horizon.clip(Timeframe.M1, start, end)
        silence, traded = silence_is_plausible(self.store, max(start, horizon.first_hot(Timeframe.M1)), end)
        told = [
            replace(one, summary=f"{one.summary}; {traded}") if one.name == "accounted_for" else one for one in outcomes
        ]
        return [*told, silence]

    def span_to_verify(self, timeframe: Timeframe, start: datetime, end: datetime) -> tuple[datetime, datetime]:
        """The span widened to every earlier failure: only a check of the same bars may end a failure."""
        for row in self.store.checks.results().iter_rows(named=True):
            carried = row["check"] in MINUTE_CHECKS  # its outcome includes earlier offenders
            if row["timeframe"] == str(timeframe) and not row["passed"] and not carried:
                where = json.loads(row["detail"])
                if "start" in where and "end" in where:
                    start = min(start, datetime.fromisoformat(where["start"]))
                    end = max(end, datetime.fromisoformat(where["end"]))
        return start, end
