"""After each minute: the work of others on its bars, and the figures of the term."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE
from crypto_pipeline.ingest.term_state import TermState
from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.store import JobMetrics, LeaseLost, Store
from crypto_pipeline.venues import Venue

log = logging.getLogger(__name__)


@dataclass(slots=True)
class MinuteDone:
    """What ``on_minute`` gets: a store that writes under the lease, and the minute that is over."""

    store: Store
    venue: Venue
    #: end of the newest minute whose bars are written
    now: datetime
    instruments: list[str]
    #: minutes that could not be proven from trades in time: (instrument, open time)
    unproven: list[tuple[str, datetime]] = field(default_factory=list)


#: Called in a thread after each minute, one call at a time; minutes that end meanwhile are one call. A coroutine is run
#: there on an event loop of its own, so it opens what it needs. Returns figures for the metrics (bars_made, gaps_found,
#: gaps_filled, oldest_gap, and any others), or None.
Figures = Mapping[str, Any] | None
OnMinute = Callable[[MinuteDone], Figures | Coroutine[Any, Any, Figures]]
#: Called in a thread with the figures of each minute.
Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What is called after each minute."""

    #: roll-ups and healing
    on_minute: OnMinute | None
    report: Report | None
    #: ``bars_made``, ``gaps_found`` and ``gaps_filled`` of the term since the last call
    figures: Callable[[], Mapping[str, int]]
    #: what the heartbeat says
    detail: Callable[[], Mapping[str, Any]]
    #: begin of the oldest hole that is requested, Unix milliseconds
    oldest_gap_ms: Callable[[], int | None]


class AfterMinute:
    """Calls the callbacks after each minute of one term, and writes the metrics of the minute."""

    def __init__(self, callbacks: Callbacks, state: TermState) -> None:
        self._callbacks, self._state = callbacks, state

    async def run(self) -> None:
        """After each minute's bars, until cancelled. An error of a callback is logged and ends nothing."""
        state = self._state
        done_ms = state.clock.now_ms() // MINUTE * MINUTE
        while True:
            end_ms = (state.clock.now_ms() - state.settings.ingest_settle_ms - 500) // MINUTE * MINUTE
            if end_ms <= done_ms:
                await asyncio.sleep(min(0.5, max(0.01, state.clock.seconds(5000))))
                continue
            done_ms = end_ms
            try:
                await self._minute(from_unix_ms(end_ms))
            except LeaseLost:
                await state.lease.retake()
            except Exception:  # whatever a callback or the database does, ingest continues
                log.exception("after the minute that ended at %s", from_unix_ms(end_ms))

    async def _minute(self, now: datetime) -> None:
        callbacks, state = self._callbacks, self._state
        began, started = time.monotonic(), datetime.now(UTC)
        store, own = state.store, callbacks.figures()
        unproven, state.unproven = state.unproven, []
        returned: dict[str, Any] = {}
        succeeded, status = True, "succeeded"
        if callbacks.on_minute is not None:
            done = MinuteDone(store, state.venue, now, state.names, unproven)
            try:
                figures: Figures = await asyncio.to_thread(_call, callbacks.on_minute, done)
                returned = dict(figures or {})
            except LeaseLost:
                raise
            except Exception as error:
                log.exception("on_minute failed")
                succeeded, status = False, f"{type(error).__name__}: {error}"[:500]
        oldest_ms = callbacks.oldest_gap_ms()
        oldest = returned.pop("oldest_gap", None) or (None if oldest_ms is None else from_unix_ms(oldest_ms))
        metrics = JobMetrics(
            "live_ingest",
            started,
            time.monotonic() - began,
            succeeded,
            status,
            rows=state.trades_stored,
            oldest_gap=oldest,
            bars_made=own["bars_made"] + int(returned.pop("bars_made", 0)),
            gaps_found=own["gaps_found"] + int(returned.pop("gaps_found", 0)),
            gaps_filled=own["gaps_filled"] + int(returned.pop("gaps_filled", 0)),
            detail={**callbacks.detail(), **returned},
        )
        await asyncio.to_thread(store.metrics.record, metrics)
        if callbacks.report is not None:
            await asyncio.to_thread(callbacks.report, {"minute": now.isoformat(), **callbacks.detail(), **returned})


def _call(on_minute: OnMinute, done: MinuteDone) -> Figures:
    returned = on_minute(done)
    return asyncio.run(returned) if asyncio.iscoroutine(returned) else returned
