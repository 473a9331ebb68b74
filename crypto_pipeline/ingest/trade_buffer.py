"""Trades that were received and are not stored yet: bounded, whatever the database does.

While the buffer is nearly full, readers are held back for a while (back-pressure reaches the venue through the socket).
When that does not help, the oldest minute of all instruments is dropped whole and returned to the caller, who writes it
into the ledger and requests it again.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from crypto_pipeline.ingest.aggregation.aggregator import Aggregator
from crypto_pipeline.ingest.aggregation.minute_state import MINUTE
from crypto_pipeline.market.trades.live_trade import LiveTrade

#: Readers are held back while the buffer is fuller than this part of its limit.
_HIGH_WATER = 0.8
#: The longest time for which readers are held back. Seconds.
_LONGEST_HOLD = 5.0


@dataclass(frozen=True, slots=True)
class DroppedMinute:
    """Trades of one instrument and minute that were dropped before they were stored.

    Attributes:
        instrument: Canonical name.
        open_ms: Start of the minute, Unix milliseconds.
        first_id: Lowest id of the trades.
        last_id: Highest id of the trades.
        trades: How many.
    """

    instrument: str
    open_ms: int
    first_id: int
    last_id: int
    trades: int


class TradeBuffer:
    """Trades on their way to the database. ``limit`` includes those that a running transaction is storing."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waiting: list[LiveTrade] = []
        self._storing = 0
        self._false: set[LiveTrade] = set()
        self._room = asyncio.Event()
        self._room.set()
        self._held_since: float | None = None
        self.overflowed = 0

    def __len__(self) -> int:
        return len(self.waiting) + self._storing

    def take(self) -> list[LiveTrade]:
        """Take every trade, to store it now; ``stored`` or ``put_back`` must follow."""
        taken, self.waiting = self.waiting, []
        self._storing = len(taken)
        return taken

    def stored(self) -> None:
        """The trades that were taken are stored."""
        self._storing = 0
        self._false.clear()
        self._room.set()
        self._held_since = None

    def put_back(self, trades: list[LiveTrade]) -> None:
        """The trades that were taken could not be stored."""
        self.waiting = [trade for trade in trades if trade not in self._false] + self.waiting
        self._storing = 0
        self._false.clear()

    def remove(self, false: list[LiveTrade]) -> None:
        """Remove false trades; those that are being stored now are not put back if that fails."""
        gone = set(false)
        self.waiting[:] = [trade for trade in self.waiting if trade not in gone]
        if self._storing:
            self._false |= gone

    @property
    def tight(self) -> bool:
        """Whether readers should be held back."""
        return len(self.waiting) + self._storing >= self.limit * _HIGH_WATER

    async def room(self) -> None:
        """Hold a reader back while the buffer is nearly full, until there is room, at most for five seconds."""
        if not self.tight:
            return
        now = time.monotonic()
        if self._held_since is None:
            self._held_since = now
            self._room.clear()
        left = self._held_since + _LONGEST_HOLD - now
        if left > 0:
            try:
                await asyncio.wait_for(self._room.wait(), left)
            except TimeoutError:
                pass  # the venue would close the connection: from now on minutes are dropped instead

    def relieve(self, aggregator: Aggregator) -> list[DroppedMinute]:
        """Drop the oldest minutes of all instruments until the rest fits. Returns what was dropped."""
        dropped: list[DroppedMinute] = []
        while len(self) > self.limit and self.waiting:
            oldest = min(trade.time_ms for trade in self.waiting)
            end = oldest - oldest % MINUTE + MINUTE
            lost: dict[str, list[int]] = {}
            kept = []
            for trade in self.waiting:
                if trade.time_ms < end:
                    lost.setdefault(trade.instrument, []).append(trade.trade_id)
                else:
                    kept.append(trade)
            self.waiting = kept
            aggregator.forget(end - MINUTE)
            dropped += [DroppedMinute(name, end - MINUTE, min(ids), max(ids), len(ids)) for name, ids in lost.items()]
        self.overflowed += sum(each.trades for each in dropped)
        return dropped
