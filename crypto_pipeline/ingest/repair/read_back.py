"""Reading again what was stored: trades and bars of a minute must say the same, whichever process wrote them.

What is in memory is proven there. But a process that dies leaves trades behind that nobody proves any more: false ones
that REST would have struck, or a bar without its trades. So every minute is read once more when all about it is done.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from datetime import datetime
from typing import TYPE_CHECKING

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE
from crypto_pipeline.ingest.recovery import Start
from crypto_pipeline.ingest.repair.rest_requests import moment

if TYPE_CHECKING:
    from crypto_pipeline.ingest.term import Ingest

log = logging.getLogger(__name__)

#: A minute is read when its end is so long ago; one that differs is asked for so often. Seconds.
_GRACE, _PAUSE, _TRIES = 10.0, 3.0, 4


class Proofreader:
    """Finds minutes of one term whose stored trades and bars differ."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._since: dict[str, int] = {}
        self._upto = 0
        #: minutes that differ: how often they were asked for, and when they may be again
        self._wrong: dict[tuple[str, int], tuple[int, float]] = {}

    def begin(self, starts: list[Start]) -> None:
        """From where on every trade should be there."""
        self._since = {start.symbol: start.since_ms if start.whole_ms is None else start.whole_ms for start in starts}
        self._upto = min(self._since.values(), default=0)

    async def look(self, now_ms: int) -> list[tuple[str, int, str | None]]:
        """Minutes to ask the venue for now: (instrument, open time, source of the stored bar)."""
        ingest, now = self._ingest, time.monotonic()
        end = now_ms - int(_GRACE * 1000 * ingest.clock.rate) - ingest.settings.ingest_settle_ms
        end -= end % MINUTE
        due = [open_ms for (_, open_ms), (_, again) in self._wrong.items() if again <= now]
        if not self._since or (end <= self._upto and not due):
            return []
        start, upto = min([self._upto, *due]), max(end, self._upto)
        differing = await asyncio.to_thread(self._read, moment(start), moment(upto))
        self._upto = upto
        for key in [key for key, (_, again) in self._wrong.items() if again <= now and key not in differing]:
            del self._wrong[key]
        return [(*key, source) for key, source in differing.items() if self._doubtful(*key, now)]

    def _read(self, start: datetime, end: datetime) -> dict[tuple[str, int], str | None]:
        ingest = self._ingest
        frame = ingest.holder.store.trades.differing(ingest.venue.name, ingest.names, start, end)
        rows = frame.with_columns(frame["open_time"].to_physical(), frame["back_to"].to_physical()).iter_rows()
        return {
            (symbol, open_ms): source
            for symbol, open_ms, back_to, source in rows
            if back_to >= self._since.get(symbol, back_to + 1)
        }

    def _doubtful(self, symbol: str, open_ms: int, now: float) -> bool:
        minute = self._ingest.aggregator.series[symbol].minutes.get(open_ms)
        tries, again = self._wrong.get((symbol, open_ms), (0, 0.0))
        if now < again:
            return False
        if minute is not None and minute.dirty:
            self._wrong[symbol, open_ms] = tries, now + _PAUSE  # it is being looked after
            return False
        if tries >= _TRIES:
            log.error("%s: trades and bar of %s differ, whatever the venue says", symbol, moment(open_ms))
            self._ingest.unproven.append((symbol, moment(open_ms)))
            # known, should an answer come after all, but never read again: what is read would reach back ever further
            self._wrong[symbol, open_ms] = tries, math.inf
            return False
        self._wrong[symbol, open_ms] = tries + 1, now + _PAUSE * 2**tries
        log.warning("%s: stored trades and bar of %s differ", symbol, moment(open_ms))
        return True

    def concerns(self, symbol: str, start_ms: int, end_ms: int) -> bool:
        """Whether an answer for this span is one that the table must be made equal to."""
        return any(name == symbol and start_ms <= open_ms < end_ms for name, open_ms in self._wrong)
