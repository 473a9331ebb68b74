"""What the heartbeat of a term says, and the metrics of each of its minutes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any, Protocol

from crypto_pipeline.ingest.session import Session
from crypto_pipeline.ingest.term_state import TermState


class OpenRequests(Protocol):
    """What is to be asked for by REST: its number, and what became of such requests."""

    counters: dict[str, int]

    def __len__(self) -> int:
        """How many are open."""


def heartbeat_detail(state: TermState, session: Session, requests: OpenRequests) -> dict[str, Any]:
    """The state of a term as JSON-ready figures.

    ``lag_ms`` and ``bar_lag_ms`` are medians in venue milliseconds (see TermState), with the 99th percentile; ``age``
    is in seconds; the other figures are counts.
    """
    return {
        "state": stated_phase(state, session),
        "pid": os.getpid(),
        "venue": state.venue.name,
        "instruments": len(state.instruments),
        "links": len(session.links),
        "waiting": len(state.buffer),
        "held": state.aggregator.held,
        "asks": len(requests),
        "stored": state.trades_stored,
        "lag_ms": _quantile(state.lags, 0.5),
        "lag_ms_p99": _quantile(state.lags, 0.99),
        "bar_lag_ms": _quantile(state.bar_lags, 0.5),
        "bar_lag_ms_p99": _quantile(state.bar_lags, 0.99),
        "overflowed": state.buffer.overflowed,
        "age": round(time.monotonic() - state.started, 1),
        **state.aggregator.counters,
        **{f"link_{name}": count for name, count in session.counters.items()},
        **{f"ask_{name}": count for name, count in requests.counters.items()},
    }


def stated_phase(state: TermState, session: Session) -> str:
    """The phase as the heartbeat states it: ``live`` only while every link is up."""
    return "reconnecting" if state.phase == "live" and not session.up else state.phase


def _quantile(values: Iterable[int], part: float) -> int | None:
    ordered = sorted(values)
    return ordered[int(part * (len(ordered) - 1))] if ordered else None
