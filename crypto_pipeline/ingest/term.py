"""One term of ingest: from taking the lease to giving it up. Connects the parts, which decide everything else.

Everything that changes memory runs in one event loop; everything that waits for the database runs in threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Any

from crypto_pipeline.ingest.after_minute import AfterMinute, Callbacks
from crypto_pipeline.ingest.aggregation.forming_bars import FormingBars
from crypto_pipeline.ingest.aggregation.minute_state import InstrumentStream
from crypto_pipeline.ingest.heartbeat import heartbeat_detail
from crypto_pipeline.ingest.recovery import plan_recovery
from crypto_pipeline.ingest.repair.gap_watch import GapWatch
from crypto_pipeline.ingest.repair.refusals import Refusals
from crypto_pipeline.ingest.repair.rest_answers import RestAnswers
from crypto_pipeline.ingest.repair.rest_requests import RestRequests
from crypto_pipeline.ingest.session import Session
from crypto_pipeline.ingest.term_loop import TermInput, TermLoop
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.store import StoreError
from crypto_pipeline.venues.stream_protocol import Anchor, Event, LiveBar, Notice

log = logging.getLogger(__name__)

#: Forming bars of wider timeframes are written once in so many seconds.
_HIGHER_EVERY = 1.0


class Term(TermLoop):
    """A term that makes bars of trades, whose ids show what is missing."""

    def __init__(self, given: TermInput) -> None:
        super().__init__(given)
        state, stream = self.state, given.stream
        self.forming = FormingBars()
        self.session = Session(stream, self._deliver, self._up, self._down)
        self.requests = RestRequests(given.venue, state.clock, dict(given.instruments))
        self.watch = GapWatch(state, self.requests)
        self.refusals = Refusals(state)
        self.answers = RestAnswers(state, self.watch, self.refusals, self.session.replace)
        oldest = lambda: self.requests.oldest_ms  # noqa: E731
        self.after_minute = AfterMinute(
            Callbacks(given.on_minute, given.report, self.watch.figures, self.detail, oldest), state
        )
        #: venue time of the first trade that the stream brought since the last flush
        self._streamed_ms: int | None = None
        self._higher_at = 0.0
        self._higher: set[InstrumentStream] = set()

    # -- a term ---------------------------------------------------------------------------------------------------

    async def _begin(self, tasks: list[asyncio.Task[None]]) -> None:
        """Start all parts once the venue has stated its time: by our own clock minutes could end too early."""
        state = self.state
        repeat, retry_until_done = state.lease.repeat, state.lease.retry_until_done
        state.phase = "recovering"
        await self._set_clock()
        flush = state.settings.ingest_flush_ms / 1000
        self._start(
            tasks,
            repeat(self.clock_every, self._set_clock),
            repeat(self.clock_every, self._share_clock),
            repeat(flush, self._flush),
            repeat(flush, self._write_bars),
            repeat(0.2, self.watch.check),
            repeat(1.0, self.watch.check_stored),
            repeat(1.0, self.refusals.write),
            self.after_minute.run(),
            self.requests.run(self.answers),
        )
        await retry_until_done(self._load_forming)
        self.session.start(state.instruments)
        await retry_until_done(self._recover)
        await self.watch.catch_up.wait()
        state.phase = "live"
        self.duty.live.set()
        log.info("live: %d instruments on %d links", len(state.instruments), len(self.session.links))

    async def _load_forming(self) -> None:
        state = self.state
        await state.run_in(state.bar_thread, self.forming.load, state.store, state.names, state.clock.now_ms())

    async def _recover(self) -> None:
        """Request everything from what is stored to now. Raises StoreError."""
        state = self.state
        now_ms, window_ms = state.clock.now_ms(), int(state.settings.ingest_recover_seconds * 1000)
        starts = await asyncio.to_thread(plan_recovery, state.store, state.venue.name, state.names, now_ms, window_ms)
        self.watch.recover(starts, now_ms, contiguous_ids=self.session.stream.stream_traits.contiguous_ids)

    async def _finish(self) -> None:
        """Write what is in memory before the lease is given up."""
        try:
            await self._flush()
            await self._write_bars()
            await self.refusals.write()
        except StoreError as error:  # the next holder requests it again, by the ids that are stored
            log.error("at the end: %s", error)

    # -- from the stream ------------------------------------------------------------------------------------------

    def _deliver(self, events: list[Event]) -> Awaitable[None] | None:
        """Take in events of the stream; awaiting the result holds the reader back."""
        state = self.state
        aggregator, buffer = state.aggregator, state.buffer
        waiting = buffer.waiting
        aggregator.arrived = time.monotonic()
        aggregator.now_ms = state.clock.now_ms()
        for event in events:
            kind = type(event)
            if kind is LiveTrade:
                if aggregator.trade(event):  # type: ignore[arg-type]
                    waiting.append(event)  # type: ignore[arg-type]
                    if self._streamed_ms is None:
                        self._streamed_ms = event.time_ms  # type: ignore[union-attr]
            elif kind is LiveBar:
                aggregator.bar(event)  # type: ignore[arg-type]
            elif kind is Anchor:
                aggregator.anchor(event)  # type: ignore[arg-type]
            elif kind is Notice:
                self.refusals.take(event)  # type: ignore[arg-type]
        return buffer.room() if buffer.tight else None

    def _up(self, names: list[str]) -> None:
        state = self.state
        now_ms = state.clock.now_ms()
        for name in names:
            if (stream := state.aggregator.streams.get(name)) is not None and stream.linked_ms is None:
                stream.linked_ms = now_ms
                stream.last_message_at = time.monotonic()
        if state.phase == "live":
            self.watch.reconnected(names)

    def _down(self, names: list[str], reason: str) -> None:
        for name in names:
            if (stream := self.state.aggregator.streams.get(name)) is not None:
                stream.linked_ms = None

    # -- to the database ------------------------------------------------------------------------------------------

    async def _flush(self) -> None:
        """Write trades, and the forming bars and prices that they changed. Raises StoreError, and then keeps them."""
        state = self.state
        moved, state.aggregator.moved = state.aggregator.moved, set()
        self._higher |= moved
        higher: set[InstrumentStream] = set()
        if time.monotonic() - self._higher_at >= _HIGHER_EVERY:
            higher, self._higher, self._higher_at = self._higher, set(), time.monotonic()
        prices = self.forming.prices(moved, higher)
        batch = state.buffer.take()
        streamed_ms, self._streamed_ms = self._streamed_ms, None
        if not batch and not prices:
            state.buffer.stored()
            return
        try:
            store = state.store
            columns = store.trades.columns_from_events(batch) if batch else None
            added, _ = await state.run_in(state.trade_thread, store.live.flush, state.venue.name, columns, prices)
        except BaseException:
            state.buffer.put_back(batch)
            state.aggregator.moved |= moved
            raise
        state.trades_stored += added
        state.buffer.stored()
        if streamed_ms is not None and state.phase == "live":
            state.lags.append(state.clock.now_ms() - streamed_ms)

    async def _write_bars(self) -> None:
        """Write bars that are proven or have settled. Raises StoreError, and then they are written again."""
        state = self.state
        bars = state.aggregator.bars_to_write(state.clock.now_ms())
        if not bars:
            return
        frame = state.aggregator.frame(bars)
        result = await state.run_in(state.bar_thread, state.store.bars.write, frame, Timeframe.M1)
        state.bars_made += result.inserted + result.superseded
        if result.refused:
            await self.refusals.write_unstored(result.refused)
        state.aggregator.wrote(bars)
        now_ms = state.clock.now_ms()
        for bar in bars:
            stated = bar.minute.stated
            settled_ms = stated.event_ms if stated is not None else bar.minute.end_ms
            if state.phase == "live" and not bar.minute.has_rest_trades:
                state.bar_lags.append(now_ms - max(bar.minute.end_ms, settled_ms))

    # -- clock and heartbeat --------------------------------------------------------------------------------------

    def _venue_answered(self) -> None:
        self.requests.venue_answered()

    def detail(self) -> dict[str, Any]:
        """What the heartbeat says."""
        return heartbeat_detail(self.state, self.session, self.requests)
