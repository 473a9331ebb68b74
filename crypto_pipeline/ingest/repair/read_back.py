"""Reading stored minutes back: trades and bar of a minute must say the same, whichever process wrote them.

What is in memory is proven there. But a process that dies leaves trades behind that no other process proves: false
ones that REST would have removed, or a bar without its trades. So every minute is read once more when nothing about it
is expected any more.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from datetime import datetime

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE
from crypto_pipeline.ingest.recovery import Start
from crypto_pipeline.ingest.term_state import TermState
from crypto_pipeline.market.times import from_unix_ms

log = logging.getLogger(__name__)

#: A minute is read back when its end is this long ago. Seconds.
_GRACE = 10.0
#: A minute that differs is requested from the venue at most so often, with pauses that double from the first. Seconds.
_REQUESTS, _FIRST_PAUSE = 4, 3.0


class ReadBack:
    """Finds minutes of one term whose stored trades and bars differ."""

    def __init__(self, state: TermState) -> None:
        self._state = state
        #: from here on every trade of the instrument should be stored. Milliseconds.
        self._since: dict[str, int] = {}
        self._read_until = 0
        #: (instrument, open time) of minutes that differ: how often requested, and not to be requested again before
        self._differing: dict[tuple[str, int], tuple[int, float]] = {}

    def begin(self, starts: list[Start]) -> None:
        """Read back from where the instruments continue."""
        self._since = {start.symbol: start.since_ms if start.whole_ms is None else start.whole_ms for start in starts}
        self._read_until = min(self._since.values(), default=0)

    async def minutes_to_request(self, now_ms: int) -> list[tuple[str, int, str | None]]:
        """Minutes to request from the venue now: (instrument, open time, source of the stored bar).

        Raises StoreError.
        """
        state, now = self._state, time.monotonic()
        end = now_ms - int(_GRACE * 1000 * state.clock.rate) - state.settings.ingest_settle_ms
        end -= end % MINUTE
        due = [open_ms for (_, open_ms), (_, not_before) in self._differing.items() if not_before <= now]
        if not self._since or (end <= self._read_until and not due):
            return []
        start, until = min([self._read_until, *due]), max(end, self._read_until)
        differing = await asyncio.to_thread(self._read, from_unix_ms(start), from_unix_ms(until))
        self._read_until = until
        waited = [key for key, (_, not_before) in self._differing.items() if not_before <= now]
        for key in waited:
            if key not in differing:
                del self._differing[key]
        return [(*key, source) for key, source in differing.items() if self._is_requested_now(*key, now)]

    def _read(self, start: datetime, end: datetime) -> dict[tuple[str, int], str | None]:
        state = self._state
        frame = state.store.trades.differing(state.venue.name, state.names, start, end)
        rows = frame.with_columns(frame["open_time"].to_physical(), frame["back_to"].to_physical()).iter_rows()
        return {
            (symbol, open_ms): source
            for symbol, open_ms, back_to, source in rows
            if back_to >= self._since.get(symbol, back_to + 1)
        }

    def _is_requested_now(self, symbol: str, open_ms: int, now: float) -> bool:
        minute = self._state.aggregator.streams[symbol].minutes.get(open_ms)
        requests, not_before = self._differing.get((symbol, open_ms), (0, 0.0))
        if now < not_before:
            return False
        if minute is not None and minute.changed_since_write:  # it will be written again
            self._differing[symbol, open_ms] = requests, now + _FIRST_PAUSE
            return False
        opened = from_unix_ms(open_ms)
        if requests >= _REQUESTS:
            log.error("%s: trades and bar of %s still differ after %d requests", symbol, opened, requests)
            self._state.unproven.append((symbol, opened))
            # It stays known, should an answer come after all, but is not read again: reads would begin ever earlier.
            self._differing[symbol, open_ms] = requests, math.inf
            return False
        self._differing[symbol, open_ms] = requests + 1, now + _FIRST_PAUSE * 2**requests
        log.warning("%s: stored trades and bar of %s differ", symbol, opened)
        return True

    def differs_in(self, symbol: str, start_ms: int, end_ms: int) -> bool:
        """Whether a minute of ``[start_ms, end_ms)`` differs: then the table must be made equal to an answer for it."""
        return any(name == symbol and start_ms <= open_ms < end_ms for name, open_ms in self._differing)
