"""Failover: other venues stand in while the first venue cannot be asked or contradicts itself.

Their bars have sources of their own. Failover is shown as one row of `ops.alerts` and ends as soon as the first venue
answers. The spans that were taken are in `market.failovers`; the first venue is asked for them until it has stated its
own bars or was asked often enough.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.healing.listings import sync_names
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.market.bars import BarOrigin
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.gaps.arithmetic import intersect, subtract, to_spans
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.coverage.failovers import Reason
from crypto_pipeline.venues import BarsAnswer, FetchPlan, StandIns, Venue, VenueError, VenueStatus, VenueUnavailable

log = logging.getLogger(__name__)

#: The earliest time after which the first venue is asked for spans that were taken from others.
_SOON = timedelta(minutes=1)
#: Pause between two probes of the first venue. Seconds.
_AGAIN = 0.5
#: A pause that a venue demands is long from here on, seconds.
_LONG_PAUSE = 10.0


class Failover:
    """The first venue and the venues that stand in for it, during one pass. Use from one event loop."""

    def __init__(self, store: Store, venue: Venue, stand_ins: StandIns, settings: Settings) -> None:
        self.store, self.venue, self.stand_ins, self.settings = store, venue, stand_ins, settings
        #: why the first venue is not asked in this pass; None: it is asked
        self.down: str | None = None
        #: why the first venue could not be asked for some bars of this pass
        self.because = ""

    @property
    def alert(self) -> str:
        """Source of the alert that shows the failover."""
        return f"failover:{self.venue.name}"

    @property
    def possible(self) -> bool:
        """Whether any venue may stand in."""
        return bool(self.stand_ins.names)

    async def now(self) -> datetime:
        """The first venue's time; while it is down, that of a venue that stands in. Raises VenueUnavailable.

        During failover the first venue is probed once instead of with all retries: a pass must not wait minutes for a
        venue that is known to be down.
        """
        if not self.possible:
            return await self._told()
        await self.look()
        if self.down is None:
            try:
                return await self._told()
            except VenueUnavailable as error:
                self.down = str(error)
        for name in self.stand_ins.names:
            try:
                return await self.stand_ins.venue(name).server_time()
            except VenueError as error:
                log.warning("%s, to stand in for %s: %s", name, self.venue.name, error)
        raise VenueUnavailable(f"{self.down}; none of {', '.join(self.stand_ins.names)} answers in its stead")

    async def _told(self) -> datetime:
        told = await self.venue.server_time()
        await asyncio.to_thread(self._learn, told)
        return told

    def _learn(self, told: datetime) -> None:
        if self.settings.states_time:
            self.store.clock.learn(self.venue.name, told, self.settings.clock_rate)

    async def look(self) -> None:
        """End the failover of an earlier pass where the first venue answers again."""
        self.down = None
        if self.possible and await asyncio.to_thread(self.switched):
            await self.probe()

    async def probe(self) -> VenueStatus:
        """Ask the first venue whether it answers; twice, because one lost request is no outage.

        While it demands a long pause it is not asked: a request would only wait.
        """
        paused = await asyncio.to_thread(self.store.budgets.paused, self.venue.name)
        if paused > _LONG_PAUSE:
            self.down = f"{self.venue.name} demands a pause of {paused:.0f} s more"
            return VenueStatus(False, None, self.down)
        status = await self.venue.status()
        if not status.reachable:
            await asyncio.sleep(_AGAIN)
            status = await self.venue.status()
        if status.reachable and status.time is not None:
            await asyncio.to_thread(self._learn, status.time)
        self.down = None if status.reachable else status.detail or f"{self.venue.name} does not answer"
        return status

    def switched(self) -> bool:
        """Whether an earlier pass left the failover on."""
        return self.alert in set(self.store.checks.open_alerts()["source"])

    # Taking from others

    async def stand_in(
        self, timeframe: Timeframe, wanted: pl.DataFrame, horizon: Horizon, reason: Reason, because: str
    ) -> int:
        """Ask the other venues, in each instrument's order, for bars of ``wanted`` spans; returns the number stored.

        Only for the newest ``failover_days``: older history waits for the first venue.
        """
        newest = horizon.now - timedelta(days=self.settings.failover_days)
        left = span.clip(wanted, timeframe.ceil(newest), horizon.settled_end(timeframe))
        again = horizon.now + min(_SOON, timedelta(seconds=self.settings.heal_backoff))
        stored = 0
        for name, rows in self._turns(left):
            mine = intersect(left, rows)
            if mine.is_empty():
                continue
            # A minute that this venue leaves out is not taken from the next one, which would mix venues bar by bar.
            answered = []
            async for answer in self._answers(name, timeframe, mine):
                answered.append((answer.instrument, answer.start, answer.end))
                bars = answer.bars
                if answer.refused:
                    await asyncio.to_thread(
                        self.store.bars_apart.refuse, name, answer.instrument, timeframe, answer.refused
                    )
                if bars.is_empty():
                    continue
                held = to_spans(bars.select("instrument", "open_time"), timeframe)
                # the span first: bars of an unrecorded span would never be replaced
                await asyncio.to_thread(
                    self.store.failovers.record,
                    held, timeframe, name, self.venue.name, reason, because, again if reason == "unavailable" else None,
                )  # fmt: skip
                source = BarOrigin.failover(name) if reason == "unavailable" else BarOrigin.substitute(name)
                marked = bars.with_columns(pl.lit(str(source)).alias("source"))
                result = await asyncio.to_thread(self.store.bars.write, marked, timeframe)
                stored += result.inserted + result.superseded
            left = subtract(left, span.spans_from_rows(answered))
        return stored

    def _turns(self, wanted: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
        """Venues in the order in which they are asked, each with the spans of the instruments that name it there."""
        lists = {name: self.stand_ins.for_instrument(name) for name in wanted["instrument"].unique().sort().to_list()}
        for place in range(max(map(len, lists.values()), default=0)):
            for venue in dict.fromkeys(names[place] for names in lists.values() if len(names) > place):
                turn = [symbol for symbol, names in lists.items() if names[place : place + 1] == (venue,)]
                yield venue, wanted.filter(pl.col("instrument").is_in(turn)).select(*span.SPAN_SCHEMA)

    async def _answers(self, name: str, timeframe: Timeframe, wanted: pl.DataFrame) -> AsyncIterator[BarsAnswer]:
        """The answers of the venue ``name`` for the spans; failures are logged and left out."""
        venue = self.stand_ins.venue(name)
        if timeframe not in venue.traits.timeframes:
            return
        names = wanted["instrument"].unique().to_list()
        try:
            symbols = self._symbols(name)
            if any(symbols.get(each) is None for each in names):
                await sync_names(self.store, venue)
                symbols = self._symbols(name)
        except VenueError as error:
            log.warning("%s, to stand in for %s: %s", name, self.venue.name, error)
            return
        plans = [
            FetchPlan(str(each), symbols[each], timeframe, rows.select("start", "end").rows())
            for (each,), rows in wanted.partition_by("instrument", as_dict=True).items()
            if symbols.get(each) is not None
        ]

        def failed(plan: FetchPlan, error: VenueError) -> None:
            log.warning("%s %s, to stand in for %s: %s", name, plan.instrument, self.venue.name, error)

        async for answer in venue.bars_many(plans, archive=False, on_error=failed):
            yield answer

    def _symbols(self, name: str) -> dict[str, str]:
        rows = self.store.instruments.frame(name).drop_nulls("venue_symbol")
        return dict(rows.select("instrument", "venue_symbol").iter_rows())

    # Taking back

    def to_take_back(
        self, timeframe: Timeframe, instruments: list[str], start: datetime, end: datetime, now: datetime
    ) -> pl.DataFrame:
        """Spans taken from others that are due at the first venue, cut to ``[start, end)``: FAILOVER_SCHEMA."""
        rows = self.store.failovers.due(self.venue.name, now, timeframe)
        if rows.height and self.store.failovers.close_replaced(self.venue.name):  # ingest may have brought them
            rows = self.store.failovers.due(self.venue.name, now, timeframe)
        return span.clip(rows.filter(pl.col("instrument").is_in(instruments)), start, end)

    def taken_back(self, rows: pl.DataFrame, answered: pl.DataFrame, now: datetime) -> None:
        """The first venue answered for ``answered``: close the ``rows`` that it replaced, schedule the others again."""
        if rows.is_empty():
            return
        silent = subtract(rows.select(*span.SPAN_SCHEMA), answered).rows()
        ids = [
            number
            for number, name, start, end in rows.select("failover_id", *span.SPAN_SCHEMA).iter_rows()
            if not any(name == one and since < end and until > start for one, since, until in silent)
        ]
        self.store.failovers.close_replaced(self.venue.name, ids)
        wait = timedelta(seconds=self.settings.heal_backoff)
        self.store.failovers.asked(ids, now, wait, self.settings.heal_attempts)

    # Where the first venue contradicts itself

    async def substitute(self, windows: pl.DataFrame, horizon: Horizon) -> int:
        """Take the minutes of disputed ``windows`` (spans) from other venues, once; returns the number stored."""
        taken = self.store.failovers.open(self.venue.name, Timeframe.M1, "disputed").select(*span.SPAN_SCHEMA)
        because = f"{self.venue.name} contradicts itself"
        return await self.stand_in(Timeframe.M1, subtract(windows, taken), horizon, "disputed", because)

    def tell_disputes(self, settled: list[int]) -> None:
        """Close what a verdict has replaced (``settled`` rows were open before it), and raise or resolve the alert."""
        if not self.possible:
            return
        self.store.failovers.close_replaced(self.venue.name, settled)
        self._alert(f"{self.alert}:disputed", "disputed", f"{self.venue.name} contradicts itself")

    # Alerts

    def tell(self, *, minutes: bool) -> None:
        """Raise the alert of the failover; resolve it after a pass that requested ``minutes`` and was answered."""
        if not self.possible:
            return
        because = self.down or self.because
        if because:
            self._alert(self.alert, "unavailable", f"{self.venue.name} cannot be asked ({because})", even_if_none=True)
        elif minutes:
            self.store.checks.resolve_alert(self.alert)

    def _alert(self, source: str, reason: Reason, because: str, *, even_if_none: bool = False) -> None:
        rows = self.store.failovers.open(self.venue.name, reason=reason)
        if rows.is_empty() and not even_if_none:
            self.store.checks.resolve_alert(source)
            return
        others = {
            str(venue): mine["instrument"].unique().sort().to_list()
            for (venue,), mine in rows.partition_by("venue", as_dict=True).items()
        }
        count = rows["instrument"].n_unique()
        taken = f"bars of {count} instruments come from {', '.join(others)}" if others else "no bar was missing yet"
        detail = {"venue": self.venue.name, "because": because, "instruments": others}
        self.store.checks.raise_alert(source, "warning", f"{because}: {taken}", detail)
