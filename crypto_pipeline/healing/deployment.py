"""The venues of a deployment together: each with its own pipeline, and one answer for all of them.

Every venue is worked on at the same time and for itself. One that fails is named in the report, and the others are
done; only where no venue could be worked on at all does the error reach the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import TypeVar

import polars as pl

from crypto_pipeline.healing import live_gaps
from crypto_pipeline.healing.checks.sources import look_at_venue
from crypto_pipeline.healing.comparison import rotation
from crypto_pipeline.healing.comparison.agreement import stands_for
from crypto_pipeline.healing.merging import merge_comparisons, merge_outcomes, merge_reconciliations, merge_reports
from crypto_pipeline.healing.passes import HISTORY, FillMode
from crypto_pipeline.healing.pipeline import KEPT_FOR_LIVE, RECONCILED, Pipeline
from crypto_pipeline.healing.reports import HealReport, Progress, ReconcileReport, silent
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.venues import VenueError, VenueUnavailable, collected_venues

T = TypeVar("T")
#: Seconds between two looks at venues that are not done, and of a pause for which one of them may wait.
_LOOK_EVERY, _PATIENCE = 2.0, 15.0


class Deployment:
    """Everything that healing does with one store and its venues. Use from one event loop."""

    def __init__(self, store: Store, settings: Settings, pipelines: Sequence[Pipeline]) -> None:
        self.store, self.settings, self.pipelines = store, settings, list(pipelines)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        store: Store,
        settings: Settings,
        venues: Sequence[str] = (),
        *,
        live: bool = False,
        keep: float = KEPT_FOR_LIVE,
    ) -> AsyncIterator[Deployment]:
        """A pipeline for each of ``venues`` (all that the settings and the universe name, when empty)."""
        collected = tuple(venues) or collected_venues(settings)
        async with AsyncExitStack() as opened:
            pipelines = []
            for venue in collected:
                chosen = settings.at(venue, first=settings.states_time and venue == collected[0])
                pipelines.append(await opened.enter_async_context(Pipeline.open(store, chosen, live=live, keep=keep)))
            yield cls(store, settings, pipelines)

    @property
    def first(self) -> Pipeline:
        """The pipeline of the venue that is named first."""
        return self.pipelines[0]

    def divided(self, instruments: Sequence[str] = ()) -> list[tuple[Pipeline, list[str]]]:
        """Each pipeline with those of ``instruments`` that are its venue's; all of them when ``instruments`` is empty.

        Pipelines without any are left out. Raises StoreError naming an unknown instrument.
        """
        if len(self.pipelines) == 1 or not instruments:
            return [(each, list(instruments)) for each in self.pipelines]
        stored = (row.instrument for row in self.store.instruments.list(active_only=False))
        venues = {each.symbol: each.venue or self.first.venue.name for each in stored}
        if unknown := [symbol for symbol in instruments if symbol not in venues]:
            self.first.choose(unknown)  # raises: no instrument has this name
        own = {each.venue.name: each for each in self.pipelines}
        if others := [symbol for symbol in instruments if venues[symbol] not in own]:
            raise StoreError(
                f"no venue of this deployment has {', '.join(others)}: name its venue in the universe file"
            )
        parts = [(each, [one for one in instruments if venues[one] == name]) for name, each in own.items()]
        return [(each, names) for each, names in parts if names]

    async def each(
        self,
        work: Callable[[Pipeline, list[str]], Awaitable[T]],
        instruments: Sequence[str] = (),
        *,
        waits_for_pauses: bool = True,
    ) -> tuple[list[T], dict[str, str]]:
        """The results of ``work`` at every venue, and the failures of venues by name.

        Work that waits for the pauses that a venue demands is stopped where the others are done before it.

        Raises the first failure when no venue succeeded, and at once what is no failure of a venue.
        """
        parts = await asyncio.to_thread(self.divided, instruments)
        tasks = [asyncio.ensure_future(work(*part)) for part in parts]
        if len(tasks) > 1 and waits_for_pauses:
            await self._stop_paused({task: part[0].venue.name for task, part in zip(tasks, parts, strict=True)})
        results = await asyncio.gather(*tasks, return_exceptions=True)
        done: list[T] = []
        failures: dict[str, VenueError] = {}
        for (pipeline, _), result in zip(parts, results, strict=True):
            name = pipeline.venue.name
            if isinstance(result, VenueError):
                failures[name] = result
            elif isinstance(result, asyncio.CancelledError):
                failures[name] = VenueUnavailable(f"{name} demands a pause: the next pass goes on where this one ended")
            elif isinstance(result, BaseException):
                raise result
            else:
                done.append(result)
        if failures and not done:
            raise next(iter(failures.values()))
        return done, {venue: str(error) for venue, error in failures.items()}

    async def _stop_paused(self, tasks: Mapping[asyncio.Future[T], str]) -> None:
        """Wait for all ``tasks`` (by venue), and stop those that wait for a pause of their venue when others are done.

        A venue may demand pauses of minutes: the next pass over the other venues must not wait for that.
        """
        pending, waited = set(tasks), dict.fromkeys(tasks.values(), 0.0)
        while pending:
            _, pending = await asyncio.wait(pending, timeout=_LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
            for task in pending if len(pending) < len(tasks) else ():
                paused = await asyncio.to_thread(self.store.budgets.paused, tasks[task])
                waited[tasks[task]] = waited[tasks[task]] + _LOOK_EVERY if paused else 0.0
                if max(paused, waited[tasks[task]]) > _PATIENCE:
                    task.cancel()

    def collected(self, symbols: Sequence[str] = ()) -> tuple[list[str], list[str]]:
        """The active instruments called ``symbols`` (all when empty), and those of ``symbols`` that were removed.

        For work that was requested a while ago: an instrument that was removed since must not stop the others. Raises
        StoreError naming an instrument that was never added.
        """
        parts = [pipeline.collected(names) for pipeline, names in self.divided(symbols)]
        return [name for active, _ in parts for name in active], [name for _, gone in parts for name in gone]

    async def now(self) -> datetime:
        """The time by the first venue that answers. Raises VenueError when none does."""
        times, _ = await self.each(lambda pipeline, _: pipeline.horizon())
        return times[0].now

    async def sync_instruments(self) -> pl.DataFrame:
        """Take over what each venue says of its active instruments; returns one row each."""
        frames, _ = await self.each(lambda pipeline, _: pipeline.sync_instruments())
        return pl.concat(frames)

    async def sync_new_instruments(self) -> None:
        """Ask the venues for their listings where one of their instruments has none yet."""

        async def work(pipeline: Pipeline, _: list[str]) -> None:
            own = self.store.instruments.frame(pipeline.venue.name, own=True)
            if own["venue_symbol"].null_count():
                await pipeline.sync_instruments()

        await self.each(work)

    async def backfill(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        instruments: Sequence[str] = (),
        timeframes: Sequence[Timeframe] = (),
        progress: Progress = silent,
        mode: FillMode = HISTORY,
    ) -> HealReport:
        """Bring every timeframe (or those given) of ``[start, end)`` up to date at every venue (see Pipeline)."""

        async def work(pipeline: Pipeline, names: list[str]) -> HealReport:
            return await pipeline.backfill(start, end, names, timeframes, progress, mode)

        return merge_reports(*await self.each(work, instruments))

    async def bring_up_to_date(
        self,
        timeframe: Timeframe,
        start: datetime,
        end: datetime,
        instruments: Sequence[str],
        progress: Progress = silent,
        mode: FillMode = HISTORY,
    ) -> HealReport:
        """Bring one timeframe of ``[start, end)`` up to date at the venues of these instruments (see Pipeline)."""

        async def work(pipeline: Pipeline, names: list[str]) -> HealReport:
            return await pipeline.bring_up_to_date(timeframe, start, end, names, progress, mode)

        return merge_reports(*await self.each(work, instruments))

    async def find_gaps(
        self, back: timedelta, instruments: Sequence[str] = (), *, collecting: Sequence[str] = ()
    ) -> pl.DataFrame:
        """Every gap of the newest ``back`` at every venue (see live_gaps)."""

        async def work(pipeline: Pipeline, names: list[str]) -> pl.DataFrame:
            return await live_gaps.find_gaps(pipeline, back, names, collecting=collecting)

        frames, _ = await self.each(work, instruments)
        return pl.concat(frames)

    async def fill_gaps(self, gaps: pl.DataFrame, progress: Progress = silent) -> HealReport:
        """Fill these gaps, each from its venue (see live_gaps)."""
        if gaps.is_empty():
            return HealReport()

        async def work(pipeline: Pipeline, names: list[str]) -> HealReport:
            return await live_gaps.fill_gaps(pipeline, gaps.filter(pl.col("instrument").is_in(names)), progress)

        return merge_reports(*await self.each(work, gaps["instrument"].unique().sort().to_list()))

    async def freshness(self) -> tuple[list[CheckOutcome], list[str], list[CheckOutcome]]:
        """Freshness of every timeframe, the instruments with too few bars in the last hour, and each venue's checks."""
        # A venue that demands a pause is judged by what is stored of it, so its look is never stopped.
        looks, _ = await self.each(lambda pipeline, _: look_at_venue(pipeline), waits_for_pauses=False)
        short = sorted(name for _, few, _ in looks for name in few)
        return merge_outcomes([outcomes for outcomes, _, _ in looks]), short, [one for *_, own in looks for one in own]

    async def reconcile(
        self,
        start: datetime,
        end: datetime,
        instruments: Sequence[str] = (),
        timeframes: Sequence[Timeframe] = RECONCILED,
        reread: bool = False,
        progress: Progress = silent,
    ) -> ReconcileReport:
        """Compare our bars of ``[start, end)`` with the bars of their venues (see Pipeline)."""

        async def work(pipeline: Pipeline, names: list[str]) -> ReconcileReport:
            return await pipeline.reconcile(start, end, names, timeframes, reread, progress)

        return merge_reconciliations(*await self.each(work, instruments))

    async def verify(self, timeframe: Timeframe, start: datetime, end: datetime) -> list[CheckOutcome]:
        """Every check of one timeframe on ``[start, end)``, each with one outcome for all venues (see Pipeline).

        The first venue that answers gives the time by which everything is judged that no venue has for itself.
        """
        failures: list[VenueError] = []
        for judge in self.pipelines:
            try:
                outcomes = await judge.verify(timeframe, start, end)
                break
            except VenueError as error:
                failures.append(error)
        else:
            raise failures[0]
        others = (each for each in self.pipelines if each is not judge)
        of_others = await asyncio.gather(*(each.verify_venue(timeframe, start, end) for each in others))
        return merge_outcomes([outcomes, *of_others])

    async def due_for_comparison(self) -> pl.DataFrame:
        """The days to compare with the venues' own bars now."""
        frames, _ = await self.each(lambda pipeline, _: pipeline.due_for_comparison())
        return pl.concat(frames)

    async def compare_due(
        self, seconds: float, progress: Progress = silent, give_way: rotation.GiveWay = rotation.at_once
    ) -> rotation.ComparisonReport:
        """Compare the days that are due at every venue, for about ``seconds``."""
        reports, failures = await self.each(lambda pipeline, _: pipeline.compare_due(seconds, progress, give_way))
        return merge_comparisons(reports, failures)

    async def agreement_checks(self, compared: Collection[Timeframe]) -> list[CheckOutcome]:
        """The check of agreement of each timeframe that was compared, or that one of ``compared`` stands for."""

        async def work(pipeline: Pipeline, _: list[str]) -> list[CheckOutcome]:
            traits = pipeline.venue.traits
            return await pipeline.agreement_checks([one for one in Timeframe if stands_for(one, traits) in compared])

        outcomes, _ = await self.each(work)
        return merge_outcomes(outcomes)
