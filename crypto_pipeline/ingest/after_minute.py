"""After each minute: the guests who work on its bars, and the figures of the term."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE
from crypto_pipeline.ingest.repair.rest_requests import moment
from crypto_pipeline.store import JobMetrics, LeaseLost, Store
from crypto_pipeline.venues import Venue

if TYPE_CHECKING:
    from crypto_pipeline.ingest.term import Ingest

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


#: Roll-ups and healing after each minute. Called in a thread, one at a time; minutes that end meanwhile are one call. A
#: coroutine is run there on a loop of its own, so it opens what it needs. What it returns (bars_made, gaps_found,
#: gaps_filled, oldest_gap, anything else) goes into the metrics.
Figures = Mapping[str, Any] | None
OnMinute = Callable[[MinuteDone], Figures | Coroutine[Any, Any, Figures]]
Report = Callable[[Mapping[str, Any]], None]


class MinuteEnds:
    """Calls ``on_minute`` after each minute of one term, and writes down what the minute was like."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest

    async def run(self) -> None:
        """After each minute's bars: what the others want to do with them, and the figures."""
        ingest = self._ingest
        done_ms = ingest.clock.now_ms() // MINUTE * MINUTE
        while True:
            end_ms = (ingest.clock.now_ms() - ingest.settings.ingest_settle_ms - 500) // MINUTE * MINUTE
            if end_ms <= done_ms:
                await asyncio.sleep(min(0.5, max(0.01, ingest.clock.seconds(5000))))
                continue
            done_ms = end_ms
            try:
                await self._minute(moment(end_ms))
            except LeaseLost:
                await ingest.retake()
            except Exception:
                # whatever the guest does, the host goes on
                log.exception("after the minute that ended at %s", moment(end_ms))

    async def _minute(self, now: datetime) -> None:
        ingest = self._ingest
        began, started = time.monotonic(), datetime.now(UTC)
        store, before = ingest.holder.store, ingest.watch.figures()
        unproven, ingest.unproven = ingest.unproven, []
        told: dict[str, Any] = {}
        succeeded, status = True, "succeeded"
        if ingest.on_minute is not None:
            done = MinuteDone(store, ingest.venue, now, ingest.names, unproven)
            try:
                said = await asyncio.to_thread(_call, ingest.on_minute, done)
                told = dict(said or {})
            except LeaseLost:
                raise
            except Exception as error:
                log.exception("on_minute failed")
                succeeded, status = False, f"{type(error).__name__}: {error}"[:500]
        oldest = told.pop("oldest_gap", None) or ingest.watch.oldest_gap()
        metrics = JobMetrics(
            "live_ingest",
            started,
            time.monotonic() - began,
            succeeded,
            status,
            rows=ingest.stored,
            bars_made=before["bars_made"] + int(told.pop("bars_made", 0)),
            gaps_found=before["gaps_found"] + int(told.pop("gaps_found", 0)),
            gaps_filled=before["gaps_filled"] + int(told.pop("gaps_filled", 0)),
            oldest_gap=oldest,
            detail=self.detail() | told,
        )
        await asyncio.to_thread(store.metrics.record, metrics)
        if ingest.report is not None:
            ingest.report({"minute": now.isoformat(), **self.detail(), **told})

    def detail(self) -> dict[str, Any]:
        """What the heartbeat says."""
        ingest = self._ingest
        return {
            "state": ingest.said,
            "pid": os.getpid(),
            "venue": ingest.venue.name,
            "instruments": len(ingest.names),
            "links": len(ingest.session.links),
            "waiting": len(ingest.buffer),
            "held": ingest.aggregator.held,
            "asks": len(ingest.repairs),
            "stored": ingest.stored,
            "lag_ms": _part(ingest.lags, 0.5),
            "lag_ms_p99": _part(ingest.lags, 0.99),
            "bar_lag_ms": _part(ingest.bar_lags, 0.5),
            "bar_lag_ms_p99": _part(ingest.bar_lags, 0.99),
            "overflowed": ingest.buffer.overflowed,
            "age": round(time.monotonic() - ingest.started, 1),
            **ingest.aggregator.counters,
            **{f"link_{name}": count for name, count in ingest.session.counters.items()},
            **{f"ask_{name}": count for name, count in ingest.repairs.counters.items()},
        }


def _part(values: Iterable[int], part: float) -> int | None:
    ordered = sorted(values)
    return ordered[int(part * (len(ordered) - 1))] if ordered else None


def _call(on_minute: OnMinute, done: MinuteDone) -> Figures:
    said = on_minute(done)
    return asyncio.run(said) if asyncio.iscoroutine(said) else said
