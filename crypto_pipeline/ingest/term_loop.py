"""What every term of ingest does: start its parts, keep the lease and the venue's time, and end in order."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from crypto_pipeline.ingest.after_minute import OnMinute, Report
from crypto_pipeline.ingest.lease import Duty, Holder
from crypto_pipeline.ingest.lease_keeper import LeaseKeeper
from crypto_pipeline.ingest.session import Session
from crypto_pipeline.ingest.stream_alert import StreamAlert
from crypto_pipeline.ingest.term_state import TermState
from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.settings import Settings
from crypto_pipeline.venues import Venue, VenueError
from crypto_pipeline.venues.stream_protocol import StreamingVenue

log = logging.getLogger(__name__)

#: Seconds between two renewals of the lease, unless it is a short one.
BEAT = 2.0
#: The longest pause between two requests for the venue's time before it answered once. Seconds.
_CLOCK_LONGEST = 30.0


@dataclass(frozen=True, slots=True)
class TermInput:
    """What a term is given: the claim to the lease (``holder``), the venue and its stream, (canonical name, venue
    symbol) of each instrument, and what is called after each minute (see after_minute).
    """

    settings: Settings
    holder: Holder
    venue: Venue
    stream: StreamingVenue
    instruments: Sequence[tuple[str, str]]
    report: Report | None = None
    on_minute: OnMinute | None = None
    duty: Duty | None = None


class TermLoop(ABC):
    """One term, from taking the lease to giving it up. ``run`` returns why it ended: ``stopped``, ``rotated`` or
    ``lost``. A term adds its parts (``_begin``), what it writes at the end (``_finish``), and its heartbeat
    (``detail``).
    """

    #: seconds between two requests for the venue's time
    clock_every: ClassVar[float] = 10.0
    session: Session

    def __init__(self, given: TermInput) -> None:
        self.duty = given.duty or Duty()
        lease = LeaseKeeper(given.holder, lambda: self.stop_with("lost"))
        self.state = TermState.from_settings(
            given.settings, lease, given.venue, given.stream.stream_traits, given.instruments
        )
        self._over: asyncio.Future[str] | None = None
        self._alert: StreamAlert | None = None

    @abstractmethod
    async def _begin(self, tasks: list[asyncio.Task[None]]) -> None:
        """Start all parts."""

    @abstractmethod
    async def _finish(self) -> None:
        """Write what is in memory before the lease is given up."""

    @abstractmethod
    def detail(self) -> dict[str, Any]:
        """What the heartbeat says."""

    @property
    def _beat_every(self) -> float:
        """Seconds between two renewals of the lease."""
        return min(BEAT, self.state.settings.ingest_lease_seconds / 4)

    @property
    def stream_alert(self) -> StreamAlert:
        """The alert about the stream."""
        if self._alert is None:
            self._alert = StreamAlert(self.state, self.session)
        return self._alert

    async def run(self, stop: asyncio.Event) -> str:
        """Work until ``stop`` is set, until a process that stands by takes over, or until the lease is lost.

        Raises what a part raises that is neither StoreError nor VenueError.
        """
        state = self.state
        self._over = asyncio.get_running_loop().create_future()
        tasks: list[asyncio.Task[None]] = []
        self._start(tasks, self._wait_for(stop), state.lease.repeat(self._beat_every, self._beat), self._begin(tasks))
        try:
            why = await self._over
        finally:
            state.phase = "stopping"
            await self.session.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        try:
            if why != "lost" and state.clock.known:
                await self._finish()
        finally:
            state.close()
        return why

    def stop_with(self, why: str) -> None:
        """Have ``run`` return ``why``."""
        if self._over is not None and not self._over.done():
            self._over.set_result(why)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and self._over is not None and not self._over.done():
            self._over.set_exception(error)

    async def _wait_for(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.stop_with("stopped")

    def _start(self, tasks: list[asyncio.Task[None]], *loops: Coroutine[Any, Any, None]) -> None:
        for loop in loops:
            task = asyncio.create_task(loop)
            task.add_done_callback(self._ended)
            tasks.append(task)

    async def _set_clock(self) -> None:
        """Ask the venue for its time; before it has stated it once, until it does."""
        clock, pause = self.state.clock, 1.0
        while True:
            try:
                sent = time.monotonic()
                stated = await self.state.venue.server_time()
                clock.set(stated.timestamp() * 1000, sent, time.monotonic())
                self._venue_answered()
                return
            except VenueError as error:
                log.warning("the venue does not state its time: %s", error)
                if clock.known:
                    return
                await asyncio.sleep(pause)
                pause = min(_CLOCK_LONGEST, 2 * pause)

    def _venue_answered(self) -> None:
        """Called whenever the venue has stated its time."""
        return

    async def _share_clock(self) -> None:
        """Write the venue's time for other processes; needs no lease, as any process may repeat what the venue said."""
        state = self.state
        if not state.settings.states_time:
            return
        learn, now = state.lease.holder.plain.clock.learn, from_unix_ms(state.clock.now_ms())
        await asyncio.to_thread(learn, state.venue.name, now, state.settings.clock_rate)

    async def _beat(self) -> None:
        state, duty = self.state, self.duty
        stands_by = await state.lease.beat(self.detail())
        await self.stream_alert.update()
        old = duty.rotates and time.monotonic() - state.started > state.settings.ingest_rotate_hours * 3600
        if old or duty.over.is_set():
            state.phase = "rotating"
            if stands_by is not None:
                self.stop_with("rotated")
        elif state.phase == "rotating":  # the caller took its request back
            state.phase = "live"
