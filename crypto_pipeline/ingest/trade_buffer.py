"""What was received and is not stored yet: bounded, whatever the database does.

While it fills, readers are held back for a while (back-pressure reaches the venue through the socket). When that does
not help, the oldest minute of all instruments is let go of, whole, and what went is told: it becomes a ledger row and
is fetched again later. Nothing is dropped in silence.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from crypto_pipeline.ingest.aggregation.aggregator import Aggregator
from crypto_pipeline.ingest.aggregation.minute_state import MINUTE
from crypto_pipeline.venues.stream_protocol import LiveTrade

#: Readers are held back from this part of the limit on, and for at most so long at a time, seconds.
_HIGH_WATER, _PATIENCE = 0.8, 5.0


@dataclass(frozen=True, slots=True)
class Overflow:
    """Trades of one instrument and minute that were let go of before they were stored."""

    instrument: str
    open_ms: int
    first_id: int
    last_id: int
    trades: int


class TradeBuffer:
    """Trades on their way to the database. ``limit`` counts also those that a running transaction is storing."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waiting: list[LiveTrade] = []
        self._storing = 0
        self._false: set[LiveTrade] = set()
        self._room = asyncio.Event()
        self._room.set()
        self._held_since: float | None = None
        self.highest = 0
        self.overflowed = 0

    def __len__(self) -> int:
        return len(self.waiting) + self._storing

    def take(self) -> list[LiveTrade]:
        """Everything, to be stored now; ``stored`` or ``put_back`` must follow."""
        taken, self.waiting = self.waiting, []
        self._storing = len(taken)
        self.highest = max(self.highest, len(taken))
        return taken

    def stored(self) -> None:
        """What was taken is safe."""
        self._storing = 0
        self._false.clear()
        self._room.set()
        self._held_since = None

    def put_back(self, trades: list[LiveTrade]) -> None:
        """What was taken could not be stored."""
        self.waiting = [trade for trade in trades if trade not in self._false] + self.waiting
        self._storing = 0
        self._false.clear()

    def strike(self, false: list[LiveTrade]) -> None:
        """Let go of trades that are not true. One that is being stored right now is not, if that should fail."""
        gone = set(false)
        self.waiting[:] = [trade for trade in self.waiting if trade not in gone]
        if self._storing:
            self._false |= gone

    @property
    def tight(self) -> bool:
        """Whether readers should be held back."""
        return len(self.waiting) + self._storing >= self.limit * _HIGH_WATER

    async def room(self) -> None:
        """Hold a reader back while the buffer is nearly full, until there is room or patience is over."""
        if not self.tight:
            return
        now = time.monotonic()
        if self._held_since is None:
            self._held_since = now
            self._room.clear()
        left = self._held_since + _PATIENCE - now
        if left > 0:
            try:
                await asyncio.wait_for(self._room.wait(), left)
            except TimeoutError:
                pass  # the venue would cut us off: from now on memory gives way instead

    def relieve(self, aggregator: Aggregator) -> list[Overflow]:
        """Let go of the oldest minutes until what is left fits. Returns what went."""
        gone: list[Overflow] = []
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
            gone += [Overflow(name, end - MINUTE, min(ids), max(ids), len(ids)) for name, ids in lost.items()]
        self.overflowed += sum(each.trades for each in gone)
        return gone
