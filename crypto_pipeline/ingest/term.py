"""One term of ingest: from taking the lease to giving it up. Connects the parts; decides nothing that they can.

Everything that touches memory runs in one event loop; what touches the database runs in two threads of its own, one
for trades and prices, one for bars, so that neither waits for the other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

from crypto_pipeline.ingest.after_minute import MinuteEnds, OnMinute, Report
from crypto_pipeline.ingest.aggregation.aggregator import Aggregator
from crypto_pipeline.ingest.aggregation.forming_bars import Forming
from crypto_pipeline.ingest.aggregation.minute_state import Series
from crypto_pipeline.ingest.lease import Duty, Holder
from crypto_pipeline.ingest.repair.gap_watch import Watch
from crypto_pipeline.ingest.repair.refusals import Refusals
from crypto_pipeline.ingest.repair.rest_requests import Repairs
from crypto_pipeline.ingest.session import Session
from crypto_pipeline.ingest.stream_alert import StreamAlert
from crypto_pipeline.ingest.trade_buffer import TradeBuffer
from crypto_pipeline.ingest.venue_clock import VenueClock
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import LeaseLost, StoreError
from crypto_pipeline.store.bars.writer import WriteResult
from crypto_pipeline.venues import Venue, VenueError
from crypto_pipeline.venues.stream_protocol import Anchor, Event, LiveBar, LiveTrade, Notice, StreamingVenue

log = logging.getLogger(__name__)
T = TypeVar("T")

BEAT = 2.0
_HIGHER_EVERY = 1.0
_CLOCK_EVERY = 10.0
#: The longest pause between two questions for the venue's time before it told it once. Seconds.
_CLOCK_LONGEST = 30.0


class Ingest:
    """A term. ``run`` returns why it ended: stopped, rotated, lost or changed."""

    def __init__(
        self,
        settings: Settings,
        holder: Holder,
        venue: Venue,
        stream: StreamingVenue,
        instruments: Sequence[tuple[str, str]],
        report: Report | None = None,
        on_minute: OnMinute | None = None,
        duty: Duty | None = None,
    ) -> None:
        self.settings, self.holder, self.venue = settings, holder, venue
        self.duty = duty or Duty()
        self.instruments = list(instruments)
        self.names = [name for name, _ in instruments]
        self.report, self.on_minute = report, on_minute
        rate = settings.clock_rate
        self.clock = VenueClock(rate)
        self.aggregator = Aggregator(
            self.names,
            settle_ms=settings.ingest_settle_ms,
            states_bars=stream.stream_traits.states_bars,
            keep_ms=int(30_000 * max(1.0, rate)),
            rate=rate,
        )
        self.buffer = TradeBuffer(settings.ingest_buffer_trades)
        self.forming = Forming()
        self.session = Session(stream, self._deliver, self._up, self._down)
        self.watch = Watch(self)
        self.refusals = Refusals(self)
        answers = self.watch.answers
        self.repairs = Repairs(
            venue,
            self.clock,
            dict(instruments),
            answers.take_trades,
            answers.take_bars,
            answers.take_failure,
            self.refusals.had,
        )
        self.minute_ends = MinuteEnds(self)
        self.stream_alert = StreamAlert(self)
        self.state = "starting"
        self.started = time.monotonic()
        self.unproven: list[tuple[str, datetime]] = []
        self.bars_made = 0
        self.stored = 0
        #: per flush, venue ms from a trade to its being stored and shown
        self.lags: deque[int] = deque(maxlen=600)
        #: per bar, venue ms from the end of its minute (or from the venue's own closed bar) to its being stored
        self.bar_lags: deque[int] = deque(maxlen=2000)
        #: time of the first trade that the stream brought since the last flush
        self._streamed: int | None = None
        self._over: asyncio.Future[str] | None = None
        self._edge = ThreadPoolExecutor(1, "ingest-edge")
        self._bars = ThreadPoolExecutor(1, "ingest-bars")
        self._higher_at = 0.0
        self._higher: set[Series] = set()
        self._retaking = asyncio.Lock()

    # -- a term ---------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> str:
        """Work until told to stop, relieved by a stand-by, or until the lease is lost."""
        self._over = asyncio.get_running_loop().create_future()
        tasks: list[asyncio.Task[None]] = []
        self._start(tasks, self._stopping(stop), self._every(BEAT, self._beat), self._begin(tasks))
        try:
            why = await self._over
        finally:
            self.state = "stopping"
            await self.session.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        try:
            if why != "lost" and self.clock.known:
                await self._finish()
        finally:
            for pool in (self._edge, self._bars):
                pool.shutdown(wait=False)
        return why

    def end(self, why: str) -> None:
        """Have ``run`` return."""
        if self._over is not None and not self._over.done():
            self._over.set_result(why)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and self._over is not None and not self._over.done():
            self._over.set_exception(error)

    async def _stopping(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.end("stopped")

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do it at this pace; a lost lease is taken again or ends the term; trouble with the database is waited out."""
        due = time.monotonic()
        while True:
            try:
                await work()
            except LeaseLost:
                await self.retake()
            except StoreError as error:
                log.error("%s", error)
            due = max(due + seconds, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def surely(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it once, however often it takes."""
        while True:
            try:
                return await work()
            except LeaseLost:
                await self.retake()
            except StoreError as error:
                log.error("%s", error)
            await asyncio.sleep(0.5)

    async def retake(self) -> None:
        """Have the lease again where it ran out and nobody took it; else the term ends."""
        async with self._retaking:
            try:
                self.holder.store.leases.renew(self.holder.lease, self.holder.seconds)  # type: ignore[arg-type]
            except LeaseLost:
                if not await asyncio.to_thread(self.holder.retake):
                    log.error("the lease %s is somebody else's now: nothing more is written", self.holder.name)
                    self.end("lost")
                    await asyncio.sleep(3600)

    def _start(self, tasks: list[asyncio.Task[None]], *loops: Coroutine[Any, Any, None]) -> None:
        for loop in loops:
            task = asyncio.create_task(loop)
            task.add_done_callback(self._ended)
            tasks.append(task)

    async def _begin(self, tasks: list[asyncio.Task[None]]) -> None:
        """Nothing else starts before the venue has told its time: by our own clock minutes would end too soon."""
        self.state = "recovering"
        await self._set_clock()
        flush = self.settings.ingest_flush_ms / 1000
        self._start(
            tasks,
            self._every(_CLOCK_EVERY, self._set_clock),
            self._every(_CLOCK_EVERY, self._tell_clock),
            self._every(flush, self._flush),
            self._every(flush, self._write_bars),
            self._every(0.2, self.watch.look),
            self._every(1.0, self.watch.proofread),
            self._every(1.0, self.refusals.write),
            self.minute_ends.run(),
            self.repairs.run(),
        )
        await self.surely(
            lambda: self._in(self._bars, self.forming.load, self.holder.store, self.names, self.clock.now_ms())
        )
        self.session.start(self.instruments)
        await self.surely(self.watch.recover)
        self.state = "live"
        self.duty.live.set()
        log.info("live: %d instruments on %d links", len(self.names), len(self.session.links))
        await asyncio.sleep(0)

    async def _finish(self) -> None:
        """What is in memory goes into the database before the lease does."""
        try:
            await self._flush()
            await self._write_bars()
            await self.refusals.write()
        except StoreError as error:  # the next holder fetches it again, by the ids that are stored
            log.error("at the end: %s", error)

    # -- in -------------------------------------------------------------------------------------------------------

    def _deliver(self, events: list[Event]) -> Awaitable[None] | None:
        aggregator, waiting = self.aggregator, self.buffer.waiting
        aggregator.arrived = time.monotonic()
        aggregator.now_ms = self.clock.now_ms()
        for event in events:
            kind = type(event)
            if kind is LiveTrade:
                if aggregator.trade(event):  # type: ignore[arg-type]
                    waiting.append(event)  # type: ignore[arg-type]
                    if self._streamed is None:
                        self._streamed = event.time_ms  # type: ignore[union-attr]
            elif kind is LiveBar:
                aggregator.bar(event)  # type: ignore[arg-type]
            elif kind is Anchor:
                aggregator.anchor(event)  # type: ignore[arg-type]
            elif kind is Notice:
                self.refusals.heard(event)  # type: ignore[arg-type]
        return self.buffer.room() if self.buffer.tight else None

    def _up(self, names: list[str]) -> None:
        now_ms = self.clock.now_ms()
        for name in names:
            if (series := self.aggregator.series.get(name)) is not None and series.linked_ms is None:
                series.linked_ms = now_ms
                series.heard = time.monotonic()
        if self.state == "live":
            self.watch.reconnected(names)

    def _down(self, names: list[str], reason: str) -> None:
        for name in names:
            if (series := self.aggregator.series.get(name)) is not None:
                series.linked_ms = None

    # -- out ------------------------------------------------------------------------------------------------------

    async def _flush(self) -> None:
        """Trades, and the prices they led to."""
        moved, self.aggregator.moved = self.aggregator.moved, set()
        self._higher |= moved
        higher: set[Series] = set()
        if time.monotonic() - self._higher_at >= _HIGHER_EVERY:
            higher, self._higher, self._higher_at = self._higher, set(), time.monotonic()
        prices = self.forming.prices(moved, higher)
        batch = self.buffer.take()
        streamed, self._streamed = self._streamed, None
        if not batch and not prices:
            self.buffer.stored()
            return
        store = self.holder.store
        try:
            columns = store.trades.columns_of(batch) if batch else None
            added, _ = await self._in(self._edge, store.live.flush, self.venue.name, columns, prices)
        except BaseException:
            self.buffer.put_back(batch)
            self.aggregator.moved |= moved
            raise
        self.stored += added
        self.buffer.stored()
        if streamed is not None and self.state == "live":
            self.lags.append(self.clock.now_ms() - streamed)

    async def _write_bars(self) -> None:
        """Bars that are proven or have settled."""
        dues = self.aggregator.due(self.clock.now_ms())
        if not dues:
            return
        store = self.holder.store

        frame = self.aggregator.frame(dues)

        def write() -> WriteResult:
            return store.bars.write(frame, Timeframe.M1)

        result = await self._in(self._bars, write)
        self.bars_made += result.inserted + result.superseded
        if result.refused:
            await self.refusals.by_store(result.refused)
        self.aggregator.wrote(dues)
        now_ms = self.clock.now_ms()
        for due in dues:
            stated = due.minute.stated
            settled = stated.event_ms if stated is not None else due.minute.end_ms
            if self.state == "live" and not due.minute.rest:
                self.bar_lags.append(now_ms - max(due.minute.end_ms, settled))

    async def on_edge(self, work: Callable[[], T]) -> T:
        """In the thread that stores trades, after what it is storing."""
        return await self._in(self._edge, work)

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *args)

    # -- beside ---------------------------------------------------------------------------------------------------

    async def _set_clock(self) -> None:
        pause = 1.0
        while True:
            try:
                sent = time.monotonic()
                told = await self.venue.server_time()
                self.clock.set(told.timestamp() * 1000, sent, time.monotonic())
                self.repairs.heard()
                return
            except VenueError as error:
                log.warning("the venue does not tell its time: %s", error)
                if self.clock.known:
                    return
                await asyncio.sleep(pause)
                pause = min(_CLOCK_LONGEST, 2 * pause)

    async def _tell_clock(self) -> None:
        """Hand the venue's time on to everyone else. Needs no lease: whoever asked the venue may say what it said."""
        told = datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC)
        learn = self.holder.plain.clock.learn
        await asyncio.to_thread(learn, self.venue.name, told, self.settings.clock_rate)

    @property
    def said(self) -> str:
        """The state as it is told: live only while every link is up."""
        return "reconnecting" if self.state == "live" and not self.session.up else self.state

    async def _beat(self) -> None:
        waiting = await asyncio.to_thread(self.holder.beat, self.detail())
        await self.stream_alert.tell(self.session.troubles)
        old = self.duty.rotates and time.monotonic() - self.started > self.settings.ingest_rotate_hours * 3600
        if old or self.duty.over.is_set():
            self.state = "rotating"
            if waiting is not None:
                self.end("rotated")
        elif self.state == "rotating":  # what it ran under is over, and it goes on under something else
            self.state = "live"

    def detail(self) -> dict[str, Any]:
        """What the heartbeat says."""
        return self.minute_ends.detail()
