"""Connections to the venue's stream: opened with growing pauses, watched, and replaced before they are closed."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from crypto_pipeline.venues import VenueError, VenueUnavailable
from crypto_pipeline.venues.stream_protocol import (
    Event,
    LastingRefusal,
    Notice,
    StreamConnection,
    StreamingVenue,
    StreamPlan,
)

log = logging.getLogger(__name__)

#: Takes in the events of a message; awaiting the result holds the reader back.
Deliver = Callable[[list[Event]], Awaitable[None] | None]

_FIRST, _LONGEST = 0.2, 30.0
_CONNECT, _BEGIN = 15.0, 10.0
#: After a link that held this long, the next failure begins with short pauses again. Seconds.
_GOOD = 10.0
#: A link that was lost so often in a row counts as down.
_AGAIN = 3


@dataclass(frozen=True, slots=True)
class Trouble:
    """A part of the plan without a lasting link.

    Attributes:
        times: How often in a row its link was lost or refused.
        reason: The last one, for people.
        instruments: Canonical names.
        lasting: Whether it lasts until a person changes what the reason names.
    """

    times: int
    reason: str
    instruments: tuple[str, ...]
    lasting: bool = False


@dataclass(slots=True)
class Link:
    """One connection while it is read."""

    plan: StreamPlan
    connection: StreamConnection
    opened: float
    heard: float
    task: asyncio.Task[None] | None = None
    #: the first message has come
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    #: it should be replaced
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""
    #: the refusal that ended it, where a person has to change something
    refusal: LastingRefusal | None = None


class Session:
    """Keeps one link for each part of the plan until ``stop`` is set."""

    def __init__(
        self,
        stream: StreamingVenue,
        deliver: Deliver,
        up: Callable[[list[str]], None],
        down: Callable[[list[str], str], None],
    ) -> None:
        self.stream, self._deliver, self._up, self._down = stream, deliver, up, down
        self.links: dict[int, Link] = {}
        #: by number of the link; gone once a link has held for a while
        self.troubles: dict[int, Trouble] = {}
        self._parts = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.counters = dict.fromkeys(
            ("connects", "failures", "cuts", "silences", "replaced", "refused", "unread", "frames"), 0
        )

    def start(self, instruments: Sequence[tuple[str, str]]) -> None:
        """Open and keep links for these (canonical name, venue symbol)."""
        plan = StreamPlan(list(instruments), bars=self.stream.stream_traits.states_bars)
        parts = self.stream.spread(plan)
        self._parts = len(parts)
        self._tasks = [
            asyncio.create_task(self._keep(number, part), name=f"link-{number}") for number, part in enumerate(parts)
        ]

    @property
    def up(self) -> bool:
        """Whether every part of the plan has a link with messages, and none was lost too often in a row."""
        begun = sum(link.begun.is_set() for link in self.links.values())
        return begun >= self._parts and not any(one.times >= _AGAIN for one in self.troubles.values())

    async def close(self) -> None:
        """End all links."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def replace(self, instrument: str) -> None:
        """Open a new link in place of the one that carries this instrument, then drop that one."""
        for link in self.links.values():
            if any(name == instrument for name, _ in link.plan.instruments):
                link.reason = f"{instrument} is dead on it"
                link.leaving.set()

    # -- one link -------------------------------------------------------------------------------------------------

    async def _keep(self, number: int, plan: StreamPlan) -> None:
        names = [name for name, _ in plan.instruments]
        failures = 0
        while True:
            link = await self._open(plan, failures, number)
            self.links[number] = link
            self._up(names)
            try:
                link = await self._until_lost(number, link)
            finally:
                self.links.pop(number, None)
                await self._end(link)
                self._down(names, link.reason)
            # a link that is lost soon again and again must not be reopened without a pause, whatever it delivered
            failures = failures + 1 if time.monotonic() - link.opened < _GOOD else 0
            self._trouble(number, failures, link.reason, names, lasting=link.refusal is not None)
            self.counters["cuts"] += 1
            log.warning("link %d lost: %s", number, link.reason)
            if link.refusal is not None:
                await asyncio.sleep(link.refusal.retry_after or _LONGEST)

    async def _until_lost(self, number: int, link: Link) -> Link:
        """Watch the link and replace it when it is due; returns the link that was lost in the end."""
        traits = self.stream.stream_traits
        try:
            while True:
                await self._look(link)
                assert link.task is not None
                now = time.monotonic()
                if link.task.done():
                    return link
                if now - link.opened >= _GOOD:
                    self.troubles.pop(number, None)
                if now - link.heard > traits.silence_limit_s:
                    self.counters["silences"] += 1
                    link.reason = f"silent for {now - link.heard:.0f} s"
                    return link
                if link.leaving.is_set() or now - link.opened > traits.max_age_s:
                    if traits.single_connection:
                        link.reason = link.reason or "it was old"
                        return link
                    successor = await self._successor(link)
                    if successor is not None:
                        self.links[number] = successor
                        link, old = successor, link
                        await self._end(old)
        except asyncio.CancelledError:
            link.reason = "we stop"
            await self._end(link)
            raise

    async def _look(self, link: Link) -> None:
        assert link.task is not None
        leaving = asyncio.ensure_future(link.leaving.wait())
        step = min(1.0, self.stream.stream_traits.silence_limit_s / 4)
        try:
            await asyncio.wait({link.task, leaving}, timeout=step, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()

    async def _successor(self, old: Link) -> Link | None:
        """A new link that has delivered a message, opened while the old one is read; None when the old one ended."""
        assert old.task is not None
        opening = asyncio.create_task(self._open(old.plan, 0, None))
        try:
            await asyncio.wait({opening, old.task}, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                return None
            link = opening.result()
            with suppress(TimeoutError):
                await asyncio.wait_for(link.begun.wait(), _BEGIN)
            self.counters["replaced"] += 1
            log.info("link replaced: %s", old.reason or "it was old")
            return link
        finally:
            opening.cancel()

    def _trouble(
        self, number: int | None, times: int, reason: str, names: Sequence[str], *, lasting: bool = False
    ) -> None:
        if number is not None and (times or lasting):
            self.troubles[number] = Trouble(max(times, 1), reason, tuple(names), lasting)

    async def _open(self, plan: StreamPlan, failures: int, number: int | None) -> Link:
        """Connect; repeat until it succeeds, with growing pauses."""
        while True:
            if failures:
                await asyncio.sleep(min(_LONGEST, _FIRST * 2 ** min(failures, 10)) * random.uniform(0.5, 1.5))
            try:
                connection = await asyncio.wait_for(self.stream.connect(plan), _CONNECT)
            except (VenueError, OSError, TimeoutError) as error:
                failures += 1
                self.counters["failures"] += 1
                reason = str(error) or type(error).__name__
                lasting = isinstance(error, LastingRefusal)
                self._trouble(number, failures, reason, [name for name, _ in plan.instruments], lasting=lasting)
                log.warning("cannot connect: %s", reason)
                if isinstance(error, LastingRefusal):
                    await asyncio.sleep(error.retry_after or _LONGEST)
                elif isinstance(error, VenueUnavailable) and error.retry_after:
                    await asyncio.sleep(min(error.retry_after, _LONGEST))
                continue
            now = time.monotonic()
            link = Link(plan, connection, opened=now, heard=now)
            link.task = asyncio.create_task(self._read(link))
            self.counters["connects"] += 1
            return link

    async def _read(self, link: Link) -> None:
        """Deliver every message until the link ends."""
        counters = self.counters
        try:
            async for events in link.connection.events():
                link.heard = time.monotonic()
                counters["frames"] += 1
                if not link.begun.is_set():
                    link.begun.set()
                if events and type(events[0]) is Notice:
                    self._notice(link, events)
                held = self._deliver(events)
                if held is not None:
                    await held
            link.reason = link.reason or "it ended"
        except (VenueError, OSError) as error:
            link.reason = str(error) or type(error).__name__
            link.refusal = error if isinstance(error, LastingRefusal) else None
        except Exception as error:  # a fault of this program ends the link alone, and is reported
            link.reason = f"a fault of this program: {error!r}"
            log.exception("a message could not be taken in")

    def _notice(self, link: Link, events: list[Event]) -> None:
        for event in events:
            if not isinstance(event, Notice):
                continue
            if event.kind == "shutdown":
                link.reason = event.text or "the venue is about to end it"
                link.leaving.set()
            elif event.kind == "refused":
                self.counters["refused"] += 1
                log.warning("subscription refused: %s %s", event.instrument or "", event.text)
            elif event.kind == "unknown":
                self.counters["unread"] += 1

    async def _end(self, link: Link) -> None:
        with suppress(VenueError, OSError):
            await link.connection.close()
        if link.task is not None:
            link.task.cancel()
            await asyncio.gather(link.task, return_exceptions=True)
