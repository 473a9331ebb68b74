"""Checks of a venue: whether it answers, and whether all of its series are as new as they should be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import polars as pl

from crypto_pipeline.healing.checks.freshness import Thresholds, thin
from crypto_pipeline.healing.checks.stored_bars import freshness
from crypto_pipeline.healing.live_gaps import quick_horizon
from crypto_pipeline.healing.pipeline import Pipeline
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.severity import SEVERITIES
from crypto_pipeline.market.timeframes import Timeframe

#: The checks of every venue, with what each promises.
CHECKS = {
    "connection": "The venue answers.",
    "freshness": "The newest bar of every series of the venue is as new as it should be, in every width.",
}


async def check_source(pipeline: Pipeline) -> list[CheckOutcome]:
    """Both checks of the pipeline's venue; the subject of the outcomes is its name. Raises StoreError."""
    _, _, outcomes = await look_at_venue(pipeline)
    return outcomes


async def look_at_venue(pipeline: Pipeline) -> tuple[list[CheckOutcome], list[str], list[CheckOutcome]]:
    """Freshness of every timeframe of the venue's series, instruments with too few bars in the last hour, and the
    checks of the venue itself. Raises StoreError.
    """
    venue, limits, begun = pipeline.venue.name, Thresholds.of(pipeline.settings), time.monotonic()
    horizon = await quick_horizon(pipeline)
    took = time.monotonic() - begun

    def look() -> tuple[list[CheckOutcome], list[str]]:
        outcomes = [freshness(pipeline.store, timeframe, horizon, limits, venue) for timeframe in Timeframe]
        return outcomes, thin(pipeline.store, horizon, pipeline.settings.freshness_bars, venue)

    outcomes, short = await asyncio.to_thread(look)
    return outcomes, short, [connection(venue, pipeline.failover.down, took), _freshness(venue, outcomes)]


def connection(venue: str, down: str | None, seconds: float) -> CheckOutcome:
    """The outcome of the check. ``down``: why the venue did not answer; None: it did, after ``seconds``."""
    said = f"{venue} answers" if down is None else f"{venue} does not answer: {down}"
    return CheckOutcome("connection", venue, down is None, "error", said, figures={"seconds": round(seconds, 3)})


def _freshness(venue: str, outcomes: Sequence[CheckOutcome]) -> CheckOutcome:
    """One outcome for every width; its offenders name instrument and timeframe."""
    late = [one for one in outcomes if not one.passed]
    if not late:
        return CheckOutcome("freshness", venue, True, "error", outcomes[0].summary)
    return CheckOutcome(
        "freshness",
        venue,
        False,
        min((one.severity for one in late), key=SEVERITIES.index),
        f"{late[0].subject}: {late[0].summary}",
        pl.concat(one.offenders.with_columns(timeframe=pl.lit(one.subject)) for one in late),
        {"overdue_seconds": max(one.figures["overdue_seconds"] for one in late)},
    )
