"""What the parts of one term share: its lease and store, the venue and its clock, what is in memory, and figures."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from crypto_pipeline.ingest.aggregation.aggregator import Aggregator
from crypto_pipeline.ingest.lease_keeper import LeaseKeeper
from crypto_pipeline.ingest.trade_buffer import TradeBuffer
from crypto_pipeline.ingest.venue_clock import VenueClock
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues import Venue
from crypto_pipeline.venues.stream_protocol import StreamTraits

T = TypeVar("T")


def _one_thread(name: str) -> Callable[[], ThreadPoolExecutor]:
    return lambda: ThreadPoolExecutor(1, name)


@dataclass(slots=True)
class TermState:
    """Shared by all parts of one term; belongs to the term's event loop."""

    settings: Settings
    lease: LeaseKeeper
    venue: Venue
    #: (canonical name, venue symbol)
    instruments: list[tuple[str, str]]
    clock: VenueClock
    aggregator: Aggregator
    buffer: TradeBuffer
    #: starting, recovering, live, rotating or stopping
    phase: str = "starting"
    started: float = field(default_factory=time.monotonic)
    #: minutes since the last call of ``on_minute`` that could not be proven: (instrument, open time)
    unproven: list[tuple[str, datetime]] = field(default_factory=list)
    bars_made: int = 0
    trades_stored: int = 0
    gaps_found: int = 0
    gaps_filled: int = 0
    #: of each flush, venue milliseconds from a trade until it is stored and shown
    lags: deque[int] = field(default_factory=lambda: deque(maxlen=600))
    #: of each bar, venue milliseconds from the end of its minute, or from the venue's closed bar, until it is stored
    bar_lags: deque[int] = field(default_factory=lambda: deque(maxlen=2000))
    #: Trades and bars are written by a thread each, so that neither waits for the other.
    trade_thread: ThreadPoolExecutor = field(default_factory=_one_thread("ingest-trades"))
    bar_thread: ThreadPoolExecutor = field(default_factory=_one_thread("ingest-bars"))

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        lease: LeaseKeeper,
        venue: Venue,
        traits: StreamTraits,
        instruments: Sequence[tuple[str, str]],
    ) -> TermState:
        """State of a term that begins: nothing is in memory yet."""
        rate = settings.clock_rate
        aggregator = Aggregator(
            [name for name, _ in instruments],
            settle_ms=settings.ingest_settle_ms,
            states_bars=traits.states_bars,
            keep_ms=int(30_000 * max(1.0, rate)),
            rate=rate,
        )
        buffer = TradeBuffer(settings.ingest_buffer_trades)
        return cls(settings, lease, venue, list(instruments), VenueClock(rate), aggregator, buffer)

    @property
    def names(self) -> list[str]:
        """Canonical names of the instruments."""
        return [name for name, _ in self.instruments]

    @property
    def store(self) -> Store:
        """The store that writes under the lease. Raises LeaseLost where the lease is not held."""
        return self.lease.holder.store

    async def run_in(self, thread: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> T:
        """``work(*args)`` in one of the threads, after what that thread is doing."""
        return await asyncio.get_running_loop().run_in_executor(thread, work, *args)

    def close(self) -> None:
        """Let the threads end after what they are doing."""
        for thread in (self.trade_thread, self.bar_thread):
            thread.shutdown(wait=False)
        self.lease.close()
