"""A term of ingest of a venue whose trades have no ids that show whether one is missing.

The stream states bars, or minutes are made of its trades: those during which the connection held. What the stream says
of a minute is provisional: it is stored at once, as not complete, and the venue is asked for it by REST soon after,
whose copy is complete and so replaces it. Minutes in which the stream was lost are asked for with them. Outside of the
hours in which anything is traded, silence is expected.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import polars as pl

from crypto_pipeline.ingest.after_minute import AfterMinute, Callbacks
from crypto_pipeline.ingest.heartbeat import heartbeat_detail
from crypto_pipeline.ingest.repair.refusals import Refusals
from crypto_pipeline.ingest.session import Session
from crypto_pipeline.ingest.stated_bars.confirmation import Confirmation
from crypto_pipeline.ingest.stated_bars.provisional import ProvisionalBars
from crypto_pipeline.ingest.stated_bars.trade_minutes import TradeMinutes
from crypto_pipeline.ingest.term_loop import TermInput, TermLoop
from crypto_pipeline.market.calendars import get_calendar
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.store import StoreError
from crypto_pipeline.venues.stream_protocol import Anchor, Event, LiveBar, Notice

log = logging.getLogger(__name__)

#: Bars that came are written so often. Seconds.
_WRITE_EVERY = 0.5
#: Part of the lease's time without a renewal after which the connection is closed: another process may take over.
_RENEWED_WITHIN = 0.7


class BarTerm(TermLoop):
    """A term that stores the bars which the venue streams, or that its trades make, until REST has stated them."""

    clock_every = 120.0

    def __init__(self, given: TermInput) -> None:
        super().__init__(given)
        state, stream = self.state, given.stream
        #: where the stream states no bars
        self.minutes = None if stream.stream_traits.states_bars else TradeMinutes()
        self.bars = ProvisionalBars(made_of_trades=self.minutes is not None)
        self.session = Session(stream, self._deliver, self._up, self._down)
        self.refusals = Refusals(state)
        self.confirmation = Confirmation(state, self.refusals)
        # the wider bars and the filling of gaps wait for REST's copies: the processors make them
        self.after_minute = AfterMinute(
            Callbacks(None, given.report, self.confirmation.figures, self.detail, lambda: None), state
        )
        self._calendars = {"24/7"}
        self._quiet_limit = stream.stream_traits.quiet_limit_s
        self._single = stream.stream_traits.single_connection
        self._renewed = time.monotonic()
        #: whether the connection is closed because the lease was not renewed in time
        self._fenced = False

    # -- a term ---------------------------------------------------------------------------------------------------

    async def _begin(self, tasks: list[asyncio.Task[None]]) -> None:
        state = self.state
        repeat, retry_until_done = state.lease.repeat, state.lease.retry_until_done
        state.phase = "recovering"
        await self._set_clock()
        await retry_until_done(self._load)
        self._start(
            tasks,
            repeat(self.clock_every, self._set_clock),
            repeat(self.clock_every, self._share_clock),
            repeat(state.settings.ingest_flush_ms / 1000, self._flush),
            repeat(_WRITE_EVERY, self._write_bars),
            repeat(1.0, self.refusals.write),
            repeat(5.0, self._check_silence),
            repeat(0.2, self._check_renewal),
            self.confirmation.run(),
            self.after_minute.run(),
        )
        self.session.start(state.instruments)
        state.phase = "live"
        self.duty.live.set()
        log.info("live: %d instruments", len(state.instruments))

    async def _load(self) -> None:
        """Learn the calendars, and which stored minutes REST has not stated yet. Raises StoreError."""
        state = self.state

        def read() -> set[str]:
            rows = state.store.instruments.frame(state.venue.name, own=True)
            return set(rows.filter(pl.col("instrument").is_in(state.names))["calendar"].to_list())

        self._calendars = await asyncio.to_thread(read)
        await self.confirmation.load()

    async def _finish(self) -> None:
        try:
            await self._flush()
            await self._write_bars()
            await self.refusals.write()
        except StoreError as error:  # REST states these minutes later
            log.error("at the end: %s", error)

    # -- from the stream ------------------------------------------------------------------------------------------

    def _deliver(self, events: list[Event]) -> Awaitable[None] | None:
        state = self.state
        now_ms = state.clock.now_ms()
        for event in events:
            if isinstance(event, LiveBar):
                state.aggregator.counters["bars"] += 1
                self.bars.take_bar(event, now_ms)
            elif isinstance(event, LiveTrade):
                state.aggregator.counters["trades"] += 1
                if self.minutes is None or self.minutes.take(event):
                    self.bars.take_trade(event, now_ms)
            elif isinstance(event, Anchor):
                if self.minutes is not None and event.time_ms is not None:
                    self.minutes.begin(event.instrument, event.time_ms)
            elif isinstance(event, Notice):
                self.refusals.take(event)
                if self.minutes is not None and event.refused is not None and event.instrument is not None:
                    self.minutes.lose([event.instrument])
        return None

    def _up(self, names: list[str]) -> None:
        """Nothing to do: minutes in which the stream was lost are asked for from ``_down`` on."""

    def _down(self, names: list[str], reason: str) -> None:
        self.confirmation.lost_at(self.state.clock.now_ms())
        if self.minutes is not None:
            self.minutes.lose(names)

    async def _check_silence(self) -> None:
        """Open the stream again that brings nothing while everything is open."""
        state, limit = self.state, self._quiet_limit
        for link in self.session.links.values():
            quiet = time.monotonic() - max(self.bars.arrived, link.opened)
            if quiet > limit and self.in_session():
                link.reason = f"no bar and no trade for {quiet:.0f} s in a session"
                self.session.counters["silences"] += 1
                self.session.replace(state.names[0])

    def in_session(self) -> bool:
        """Whether all markets were open for as long as the silence that is noticed, up to the newest data."""
        state = self.state
        until = from_unix_ms(state.clock.now_ms()) - state.venue.traits.delay
        since = until - timedelta(seconds=self._quiet_limit)
        return all(
            sum((end - start for start, end in get_calendar(name).spans(Timeframe.M1, since, until)), timedelta())
            >= timedelta(seconds=self._quiet_limit) - 2 * Timeframe.M1.delta
            for name in self._calendars
        )

    # -- to the database ------------------------------------------------------------------------------------------

    async def _flush(self) -> None:
        """Write forming minutes and last prices. Raises StoreError, and then they are written again."""
        state = self.state
        prices, arrived_ms = self.bars.moved_prices()
        if not prices:
            return
        try:
            await state.run_in(state.trade_thread, state.store.live.flush, state.venue.name, None, prices)
        except BaseException:
            self.bars.moved.update(price.instrument for price in prices)
            raise
        if arrived_ms is not None:
            state.lags.append(state.clock.now_ms() - arrived_ms)

    async def _write_bars(self) -> None:
        """Write the minutes that came. Raises StoreError, and then they are written again."""
        state = self.state
        self._make_minutes()
        waiting, self.bars.waiting = self.bars.waiting, {}
        if not waiting:
            return
        try:
            frame = self.bars.frame(waiting.values())
            result = await state.run_in(state.bar_thread, state.store.bars.write, frame, Timeframe.M1)
        except BaseException:
            self.bars.waiting = {**waiting, **self.bars.waiting}
            raise
        state.bars_made += result.inserted + result.superseded
        if result.refused:
            await self.refusals.write_unstored(result.refused)
        now_ms = state.clock.now_ms()
        for (name, open_ms), (bar, _) in waiting.items():
            self.confirmation.await_minute(name, open_ms)
            state.bar_lags.append(now_ms - bar.event_ms)

    def _make_minutes(self) -> None:
        """Make the minutes that are over, where the stream states none."""
        if self.minutes is None:
            return
        now_ms = self.state.clock.now_ms()
        for bar in self.minutes.over(now_ms):
            self.bars.waiting[bar.instrument, bar.open_ms] = bar, now_ms
        for name, open_ms in self.minutes.partial():
            self.confirmation.await_minute(name, open_ms)

    # -- the lease ------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        began = time.monotonic()
        await super()._beat()
        self._renewed = began
        if self._fenced:
            self._fenced = False
            self.session.start(self.state.instruments)

    async def _check_renewal(self) -> None:
        """Close the only connection of a key before another process may open one."""
        late = time.monotonic() - self._renewed
        if self._single and not self._fenced and late > _RENEWED_WITHIN * self.state.settings.ingest_lease_seconds:
            log.warning("the lease was not renewed for %.1f s: the stream is closed until it is", late)
            self._fenced = True
            await self.session.close()

    def detail(self) -> dict[str, Any]:
        """What the heartbeat says."""
        return heartbeat_detail(self.state, self.session, self.confirmation)
