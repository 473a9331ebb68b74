"""Request budget of one process: weight per fixed window, corrected by the venue's header, and pauses."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from crypto_pipeline.venues.protocol import BudgetLimit

#: Seconds after a window's start during which a high header means that the venue's window has not changed yet.
_SKEW = 5.0


class MemoryBudget:
    """A RequestBudget of one process; ``store.coordination.budgets`` has the one that processes share.

    Windows start at whole multiples of their width by ``clock`` (Unix seconds), as the venue's do. At most ``share`` of
    the limit is booked in one window. The venue's header takes precedence when it states more than was booked; a header
    that shows a clock difference moves the window. Safe to use from several event loops and threads.
    """

    def __init__(self, limit: BudgetLimit | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._limit = limit or BudgetLimit(6000)
        self._clock = clock
        self._lock = threading.Lock()
        self._window_end = 0.0
        self._used = 0
        self._used_before = 0
        self._paused_until = 0.0
        #: Weight booked in all windows so far, and seconds that callers waited: for metrics and tests.
        self.booked = 0
        self.waited = 0.0

    @property
    def used(self) -> int:
        """Weight used in the current window, from bookings and headers."""
        with self._lock:
            self._turn(self._clock())
            return self._used

    @property
    def paused(self) -> float:
        """Seconds until the pause ends; 0 without a pause."""
        return max(0.0, self._paused_until - self._clock())

    @property
    def allowed(self) -> int:
        """Weight that may be used in one window."""
        return max(1, int(self._limit.limit * self._limit.share))

    async def acquire(self, weight: int) -> None:
        """Wait until ``weight`` may be spent, then book it."""
        while (wait := self._book(weight)) > 0:
            self.waited += wait
            await asyncio.sleep(wait)

    def _book(self, weight: int) -> float:
        """Book and return 0, or return the seconds to wait before the next try."""
        with self._lock:
            now = self._clock()
            if now < self._paused_until:
                return self._paused_until - now
            self._turn(now)
            # A request heavier than the whole allowance gets a new window alone; otherwise it would never be sent.
            if weight == 0 or self._used + weight <= self.allowed or self._used == 0:
                self._used += weight
                self.booked += weight
                return 0.0
            return max(self._window_end - now, 0.001)

    def _turn(self, now: float) -> None:
        if now >= self._window_end:
            width = self._limit.window
            self._window_end = (now // width + 1) * width
            self._used_before, self._used = self._used, 0

    async def report(self, used: int) -> None:
        """Take over the weight that the venue's header states for the current window."""
        with self._lock:
            now = self._clock()
            self._turn(now)
            if used <= self._used:
                return  # requests in flight are booked here and not yet counted there
            begun = self._window_end - self._limit.window
            if now - begun < _SKEW and self._used_before and used > self._used_before:
                # Our window has just changed and the header still has the old count: the venue's clock is behind ours.
                # Waiting a whole window would halve the throughput, so try again in a second.
                self._window_end = now + 1.0
            self._used = used

    async def limit(self, limit: BudgetLimit) -> None:
        """Take over the limit that the venue states."""
        with self._lock:
            if limit.window != self._limit.window:
                self._window_end = 0.0
            self._limit = limit

    async def pause(self, seconds: float) -> None:
        """Stop all requests for ``seconds``. A shorter pause never ends a longer one."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)
