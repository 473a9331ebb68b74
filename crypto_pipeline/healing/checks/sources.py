"""Checks of a venue: whether it answers, and whether all of its series are as new as they should be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import polars as pl

from crypto_pipeline.healing.checks.freshness import Thresholds
from crypto_pipeline.healing.checks.stored_bars import freshness
from crypto_pipeline.healing.live_gaps import quick_horizon
from crypto_pipeline.healing.pipeline import Pipeline
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.market.checks import SEVERITIES, CheckOutcome
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

#: The checks of every venue, with what each promises.
CHECKS = {
    "connection": "The venue answers.",
    "freshness": "The newest bar of every series of the venue is as new as it should be, in every width.",
}


async def check_source(pipeline: Pipeline) -> list[CheckOutcome]:
    """Both checks of the pipeline's venue; the subject of the outcomes is its name. Raises StoreError."""
    begun = time.monotonic()
    status = await pipeline.venue.status()
    took = time.monotonic() - begun
    horizon = await quick_horizon(pipeline)
    fresh = await asyncio.to_thread(_freshness, pipeline, horizon)
    name = pipeline.venue.name
    said = f"{name} answers after {took * 1000:.0f} ms" if status.reachable else f"{name} does not answer"
    detail = f": {status.detail}" if status.detail and not status.reachable else ""
    connection = CheckOutcome(
        "connection", name, status.reachable, "error", said + detail, figures={"answer_ms": round(took * 1000, 1)}
    )
    return [connection, fresh]


def _freshness(pipeline: Pipeline, horizon: Horizon) -> CheckOutcome:
    """One outcome for every width; its offenders name instrument and timeframe."""
    store, venue, limits = pipeline.store, pipeline.venue.name, Thresholds.of(pipeline.settings)
    if not store.instruments.list(venue=venue):
        return CheckOutcome("freshness", venue, True, "error", f"no series of {venue} is collected")
    outcomes = [freshness(store, timeframe, horizon, limits, venue) for timeframe in Timeframe]
    late = [one for one in outcomes if not one.passed]
    if not late:
        return CheckOutcome("freshness", venue, True, "error", outcomes[0].summary)
    offenders = [
        one.offenders.select("instrument", pl.lit(one.subject).alias("timeframe"), "open_time", "overdue", "level")
        for one in late
    ]
    return CheckOutcome(
        "freshness",
        venue,
        False,
        min((one.severity for one in late), key=SEVERITIES.index),
        f"{late[0].subject}: {late[0].summary}",
        pl.concat(offenders),
        {"overdue_seconds": max(one.figures["overdue_seconds"] for one in late)},
    )


def record_source(store: Store, outcome: CheckOutcome) -> None:
    """Keep the outcome as the newest result of `<check>:<venue>`, and open or close its alert. Raises StoreError."""
    offenders: Sequence[dict[str, Any]] = [
        {name: str(value) for name, value in row.items()} for row in outcome.offenders.head(100).iter_rows(named=True)
    ]
    store.checks.record_result(
        f"{outcome.name}:{outcome.subject}",
        None,
        outcome.passed,
        severity=outcome.severity,
        summary=outcome.summary,
        detail={"offenders": offenders},
    )
