"""Requests to the venue's REST interface for what the stream did not bring: spans of trades, or the venue's own bars.

Each instrument has one request under way at a time; requests for spans that touch become one. A failed request is
repeated with growing pauses. While the venue answers no instrument, it is repeated without end. Where the venue fails
for one instrument alone (an answer that cannot be read, or no answer while others get theirs), the request ends after
MOST_FAILURES failures in a row and is handed over with the reason. The next request for the same instrument waits
longer, and ends at once if it fails too. What an answer means is decided by an AnswerHandler.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Protocol

from crypto_pipeline.ingest.venue_clock import VenueClock
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.venues import BarsAnswer, FetchPlan, MalformedAnswer, TradesAnswer, Venue, VenueError

log = logging.getLogger(__name__)

#: Pauses double from the first to the longest: while the venue is away, or while it fails for one instrument. Seconds.
_FIRST, _LONGEST, _LONGEST_FOR_ONE = 0.5, 60.0, 900.0
#: After so many failures in a row a venue that answers for other instruments is not asked for this one again.
MOST_FAILURES = 6
#: Requests of one instrument whose spans are nearer than this become one. Venue milliseconds.
_NEAR_MS = 5_000


@dataclass(slots=True)
class RestRequest:
    """One span ``[start_ms, end_ms)`` of one instrument, Unix milliseconds of the venue.

    Attributes:
        why: What it is for, for the log.
        bars: Asks for the venue's bars instead of its trades.
        due: When to ask, monotonic time.
        since: When the span was first requested, monotonic time.
        failed: When it failed last, monotonic time.
        failures: In a row.
    """

    symbol: str
    start_ms: int
    end_ms: int
    why: str
    bars: bool
    due: float
    since: float
    failed: float
    failures: int = 0


class AnswerHandler(Protocol):
    """Takes in what the venue answered."""

    async def take_trades(self, request: RestRequest, answer: TradesAnswer, asked_ms: int) -> None:
        """Trades of the span, asked for at ``asked_ms`` by the venue's clock."""

    async def take_bars(self, request: RestRequest, answers: list[BarsAnswer]) -> None:
        """The venue's own 1m bars of the span."""

    async def take_failure(self, request: RestRequest, error: VenueError, last: bool) -> None:
        """The venue failed for this instrument alone; ``last``: it will not be asked again."""

    async def take_recovery(self, symbol: str) -> None:
        """The venue answered for an instrument that it had failed for."""


class RestRequests:
    """The requests that wait, and the workers that make them."""

    def __init__(self, venue: Venue, clock: VenueClock, venue_symbols: dict[str, str], workers: int = 6) -> None:
        self._venue, self._clock, self.venue_symbols = venue, clock, venue_symbols
        self._workers = workers
        #: when the venue last answered any request (monotonic)
        self._answered_at = 0.0
        #: (instrument, whether of bars) that the venue fails for: failures in a row, and not to be asked before when
        self._failing: dict[tuple[str, bool], tuple[int, float]] = {}
        self._waiting: list[RestRequest] = []
        self._running: set[str] = set()
        self._wake = asyncio.Event()
        self.counters = dict.fromkeys(("asked", "filled", "failed", "given_up"), 0)

    def add(self, symbol: str, start_ms: int, end_ms: int, why: str, *, bars: bool = False) -> None:
        """Request ``[start_ms, end_ms)`` of one instrument. Unknown instruments and empty spans are left out."""
        if symbol not in self.venue_symbols or start_ms >= end_ms:
            return
        now = time.monotonic()
        for request in self._waiting:
            near = request.start_ms <= end_ms + _NEAR_MS and start_ms <= request.end_ms + _NEAR_MS
            if request.symbol == symbol and request.bars == bars and near:
                request.start_ms, request.end_ms = min(request.start_ms, start_ms), max(request.end_ms, end_ms)
                break
        else:
            _, not_before = self._failing.get((symbol, bars), (0, 0.0))
            due = max(now, not_before)
            self._waiting.append(RestRequest(symbol, start_ms, end_ms, why, bars, due=due, since=now, failed=now))
            self.counters["asked"] += 1
        self._wake.set()

    def is_requested(self, symbol: str) -> bool:
        """Whether anything of this instrument is requested."""
        return symbol in self._running or any(request.symbol == symbol for request in self._waiting)

    @property
    def oldest_ms(self) -> int | None:
        """Begin of the oldest span that waits; None when none does."""
        return min((request.start_ms for request in self._waiting), default=None)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._running)

    def venue_answered(self) -> None:
        """Note that the venue answered some request just now."""
        self._answered_at = time.monotonic()

    async def run(self, handler: AnswerHandler) -> None:
        """Make the requests until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work(handler))

    async def _work(self, handler: AnswerHandler) -> None:
        while True:
            request = self._next()
            if request is None:
                self._wake.clear()
                pause = min((each.due for each in self._waiting), default=time.monotonic() + 1) - time.monotonic()
                try:
                    await asyncio.wait_for(self._wake.wait(), min(1.0, max(0.02, pause)))
                except TimeoutError:
                    pass
                continue
            self._running.add(request.symbol)
            try:
                await self._make(request, handler)
            finally:
                self._running.discard(request.symbol)

    def _next(self) -> RestRequest | None:
        now = time.monotonic()
        ready = [each for each in self._waiting if each.due <= now and each.symbol not in self._running]
        if not ready:
            return None
        request = min(ready, key=lambda each: each.due)
        self._waiting.remove(request)
        return request

    async def _make(self, request: RestRequest, handler: AnswerHandler) -> None:
        try:
            await (self._ask_bars(request, handler) if request.bars else self._ask_trades(request, handler))
        except VenueError as error:
            self.counters["failed"] += 1
            await self._failed(request, error, handler)
        else:
            self.counters["filled"] += 1
            self.venue_answered()
            if self._failing.pop((request.symbol, request.bars), None) is not None:
                await handler.take_recovery(request.symbol)

    async def _failed(self, request: RestRequest, error: VenueError, handler: AnswerHandler) -> None:
        """Make the request again later, or end it where the venue failed for its instrument alone for the last time."""
        request.failures += 1
        for_this_one = error.permanent or isinstance(error, MalformedAnswer) or self._answered_at > request.failed
        request.failed = time.monotonic()
        if not for_this_one:
            self._make_later(request, error, _pause(request.failures, _LONGEST))
            return
        key = request.symbol, request.bars
        times = self._failing.get(key, (0, 0.0))[0] + 1
        pause = _pause(times, _LONGEST_FOR_ONE)
        self._failing[key] = times, time.monotonic() + pause
        last = error.permanent or times >= MOST_FAILURES
        if last:
            self.counters["given_up"] += 1
            times_asked = request.failures
            log.warning("%s (%s): %s; given up after %d requests", request.symbol, request.why, error, times_asked)
        else:
            self._make_later(request, error, pause)
        await handler.take_failure(request, error, last)

    def _make_later(self, request: RestRequest, error: VenueError, pause: float) -> None:
        request.due = time.monotonic() + pause
        self._waiting.append(request)
        log.info("%s (%s): %s; requested again in %.1f s", request.symbol, request.why, error, pause)

    async def _ask_trades(self, request: RestRequest, handler: AnswerHandler) -> None:
        asked_ms = self._clock.now_ms()
        start, end = from_unix_ms(request.start_ms), from_unix_ms(request.end_ms)
        answer = await self._venue.trades(request.symbol, self.venue_symbols[request.symbol], start, end)
        await handler.take_trades(request, answer, asked_ms)

    async def _ask_bars(self, request: RestRequest, handler: AnswerHandler) -> None:
        span = from_unix_ms(request.start_ms), from_unix_ms(request.end_ms)
        plan = FetchPlan(request.symbol, self.venue_symbols[request.symbol], Timeframe.M1, [span])
        await handler.take_bars(request, [answer async for answer in self._venue.bars(plan, archive=False)])


def _pause(times: int, longest: float) -> float:
    return min(longest, _FIRST * 2.0 ** min(times, 16))
