"""Asking the venue for what the stream did not bring: spans of trades, and its own bars where trades cannot tell.

One ask per instrument at a time, asks that touch are one. A failed ask is repeated with growing pauses. While the venue
answers nobody, that does not end. Where it fails for one instrument alone (an answer that cannot be read, or none while
others get theirs), it ends after MOST asks in a row and is handed over with the reason. The next ask for the same
instrument waits on, and is let go of at once if it fails too. What an answer means is the caller's business.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from crypto_pipeline.ingest.venue_clock import VenueClock
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import BarsAnswer, FetchPlan, MalformedAnswer, TradesAnswer, Venue, VenueError

log = logging.getLogger(__name__)

#: Pauses grow from the first to the longest: of a venue that is away, and of an instrument that it fails for. Seconds.
_FIRST, _LONGEST, _LONGEST_ALONE = 0.5, 60.0, 900.0
#: A venue that answers others fails so often for one instrument; then the ask comes to an end.
MOST = 6
#: Asks of one instrument that are nearer than this become one, venue milliseconds.
_NEAR_MS = 5_000


@dataclass(slots=True)
class Ask:
    """One span of one instrument; ``bars`` asks for the venue's bars and not for trades."""

    symbol: str
    start_ms: int
    end_ms: int
    why: str
    bars: bool = False
    failures: int = 0
    due: float = 0.0
    since: float = 0.0
    failed: float = 0.0


TakeTrades = Callable[[Ask, TradesAnswer, int], Awaitable[None]]
TakeBars = Callable[[Ask, list[BarsAnswer]], Awaitable[None]]
#: Is told of a failure that is the instrument's own, and whether it was the last.
Failed = Callable[[Ask, VenueError, bool], Awaitable[None]]
#: Is told that the venue answered for an instrument.
Answered = Callable[[str], Awaitable[None]]


class Repairs:
    """The asks that wait, and the workers that do them."""

    def __init__(
        self,
        venue: Venue,
        clock: VenueClock,
        venue_symbols: dict[str, str],
        take_trades: TakeTrades,
        take_bars: TakeBars,
        failed: Failed,
        answered: Answered,
        workers: int = 6,
    ) -> None:
        self._venue, self._clock, self.venue_symbols = venue, clock, venue_symbols
        self._take_trades, self._take_bars, self._workers = take_trades, take_bars, workers
        self._failed, self._answered = failed, answered
        #: when the venue last answered anything (monotonic)
        self._heard = 0.0
        #: instruments (and whether of bars) that the venue fails for: how often in a row, not asked for before when
        self._troubles: dict[tuple[str, bool], tuple[int, float]] = {}
        self._waiting: list[Ask] = []
        self._running: set[str] = set()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.counters = dict.fromkeys(("asked", "filled", "failed", "given_up"), 0)
        #: longest time from knowing of a hole to having filled it, seconds
        self.slowest = 0.0

    def want(
        self, symbol: str, start_ms: int, end_ms: int, why: str, *, bars: bool = False, delay: float = 0.0
    ) -> None:
        """Ask for ``[start_ms, end_ms)``, ``delay`` seconds from now."""
        if symbol not in self.venue_symbols or start_ms >= end_ms:
            return
        now = time.monotonic()
        for ask in self._waiting:
            near = ask.start_ms <= end_ms + _NEAR_MS and start_ms <= ask.end_ms + _NEAR_MS
            if ask.symbol == symbol and ask.bars == bars and near:
                ask.start_ms, ask.end_ms = min(ask.start_ms, start_ms), max(ask.end_ms, end_ms)
                break
        else:
            _, not_before = self._troubles.get((symbol, bars), (0, 0.0))
            due = max(now + delay, not_before)
            self._waiting.append(Ask(symbol, start_ms, end_ms, why, bars, due=due, since=now, failed=now))
            self.counters["asked"] += 1
        self._idle.clear()
        self._wake.set()

    def wants(self, symbol: str) -> bool:
        """Whether anything of this instrument is being asked for."""
        return symbol in self._running or any(ask.symbol == symbol for ask in self._waiting)

    async def settled(self) -> None:
        """Wait until nothing is left to ask for."""
        await self._idle.wait()

    @property
    def oldest_ms(self) -> int | None:
        """Begin of the oldest span that is still asked for."""
        return min((ask.start_ms for ask in self._waiting), default=None)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._running)

    async def run(self) -> None:
        """Do what is wanted until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            ask = self._next()
            if ask is None:
                self._wake.clear()
                pause = min((ask.due for ask in self._waiting), default=time.monotonic() + 1) - time.monotonic()
                try:
                    await asyncio.wait_for(self._wake.wait(), min(1.0, max(0.02, pause)))
                except TimeoutError:
                    pass
                continue
            self._running.add(ask.symbol)
            try:
                await self._do(ask)
            finally:
                self._running.discard(ask.symbol)
                if not self._waiting and not self._running:
                    self._idle.set()

    def _next(self) -> Ask | None:
        now = time.monotonic()
        ready = [ask for ask in self._waiting if ask.due <= now and ask.symbol not in self._running]
        if not ready:
            return None
        ask = min(ready, key=lambda each: each.due)
        self._waiting.remove(ask)
        return ask

    async def _do(self, ask: Ask) -> None:
        try:
            await (self._ask_bars(ask) if ask.bars else self._ask_trades(ask))
        except VenueError as error:
            self.counters["failed"] += 1
            await self._again(ask, error)
        else:
            self.counters["filled"] += 1
            self.heard()
            self.slowest = max(self.slowest, time.monotonic() - ask.since)
            if self._troubles.pop((ask.symbol, ask.bars), None) is not None:
                await self._answered(ask.symbol)

    def heard(self) -> None:
        """The venue answered something just now."""
        self._heard = time.monotonic()

    async def _again(self, ask: Ask, error: VenueError) -> None:
        """Ask again later; let go of what is the instrument's own failure for the last time."""
        ask.failures += 1
        alone = error.permanent or isinstance(error, MalformedAnswer) or self._heard > ask.failed
        ask.failed = time.monotonic()
        if not alone:
            ask.due = time.monotonic() + _pause(ask.failures, _LONGEST)
            self._waiting.append(ask)
            log.info("%s (%s): %s; again in %.1f s", ask.symbol, ask.why, error, ask.due - time.monotonic())
            return
        key = ask.symbol, ask.bars
        times = self._troubles.get(key, (0, 0.0))[0] + 1
        ask.due = time.monotonic() + _pause(times, _LONGEST_ALONE)
        self._troubles[key] = times, ask.due
        last = error.permanent or times >= MOST
        if last:
            self.counters["given_up"] += 1
            log.warning("%s (%s): %s; asked %d times, let go of", ask.symbol, ask.why, error, ask.failures)
        else:
            self._waiting.append(ask)
            log.info("%s (%s): %s; again in %.1f s", ask.symbol, ask.why, error, ask.due - time.monotonic())
        await self._failed(ask, error, last)

    async def _ask_trades(self, ask: Ask) -> None:
        asked_ms = self._clock.now_ms()
        symbol = self.venue_symbols[ask.symbol]
        answer = await self._venue.trades(ask.symbol, symbol, moment(ask.start_ms), moment(ask.end_ms))
        await self._take_trades(ask, answer, asked_ms)

    async def _ask_bars(self, ask: Ask) -> None:
        plan = FetchPlan(
            ask.symbol, self.venue_symbols[ask.symbol], Timeframe.M1, [(moment(ask.start_ms), moment(ask.end_ms))]
        )
        await self._take_bars(ask, [answer async for answer in self._venue.bars(plan, archive=False)])


def _pause(times: int, longest: float) -> float:
    return min(longest, _FIRST * 2.0 ** min(times, 16))


def moment(ms: int) -> datetime:
    """Unix milliseconds as an aware datetime."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
