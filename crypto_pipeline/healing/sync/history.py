"""The historical sync of one venue, in two stages: what is known is moved into history, then what lags behind heals."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from crypto_pipeline.healing.checks.freshness import Thresholds, ages
from crypto_pipeline.healing.merging import merge_reports
from crypto_pipeline.healing.pipeline import Pipeline
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.healing.reports import HealReport, Progress, silent
from crypto_pipeline.healing.sync.known_bars import move_known
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.venues import VenueError

#: A series lags behind when a bar has been due for longer, by the calendar of its instrument.
OLD = timedelta(hours=3)
#: So much at least is healed of an instrument that lags behind.
AT_LEAST = timedelta(days=7)


@dataclass(slots=True)
class SyncReport:
    """What the two stages did, and the first day that was healed of each instrument that lagged behind.

    Attributes:
        known: The first stage.
        healed: The second stage.
        behind: Instruments that lagged behind, and from when on they were healed (UTC); None: the whole history.
        failure: Why the second stage could not be done; None where it was.
    """

    known: HealReport = field(default_factory=HealReport)
    healed: HealReport = field(default_factory=HealReport)
    behind: Mapping[str, datetime | None] = field(default_factory=dict)
    failure: VenueError | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "known": self.known.as_dict(),
            "healed": self.healed.as_dict(),
            "behind": {name: None if since is None else since.isoformat() for name, since in self.behind.items()},
            "failure": None if self.failure is None else str(self.failure),
        }

    def whole(self) -> HealReport:
        """Both stages together."""
        return merge_reports([self.known, self.healed], {})


async def sync_history(pipeline: Pipeline, progress: Progress = silent, *, with_absent: bool = True) -> SyncReport:
    """Move what is known into history, then heal every series whose newest bar is absent or older than three hours.

    Of an instrument with such a series at least the last seven days are healed, and everything since its newest bar; of
    one without a bar the whole history, unless ``with_absent`` is false because another run collects it. Where the
    venue does not answer the report says so: the first stage is done in any case. Raises StoreError.
    """
    report = SyncReport()
    try:
        horizon = await pipeline.horizon()
        # before known bars are moved: a new bar does not close the hole before it
        report.behind = await asyncio.to_thread(_behind, pipeline.store, pipeline.venue.name, horizon, with_absent)
    except VenueError as error:
        report.failure = error
    report.known = await asyncio.to_thread(move_known, pipeline, progress)
    if report.failure is not None:
        return report
    try:
        passes = []
        for start, names in _together(report.behind):
            passes.append(await pipeline.backfill(start, None, names, progress=progress, horizon=horizon))
        report.healed = merge_reports(passes, {})
    except VenueError as error:
        report.failure = error
    return report


def _together(behind: Mapping[str, datetime | None]) -> list[tuple[datetime | None, list[str]]]:
    """Instruments that are healed in one pass: those without any bar, and those with some, from the earliest begin."""
    whole = [name for name, since in behind.items() if since is None]
    begins = {name: since for name, since in behind.items() if since is not None}
    passes: list[tuple[datetime | None, list[str]]] = [(None, whole)] if whole else []
    return [*passes, (min(begins.values()), list(begins))] if begins else passes


def _behind(store: Store, venue: str, horizon: Horizon, with_absent: bool) -> dict[str, datetime | None]:
    """Instruments with a series that lags behind, and from when on each is to be healed (see SyncReport)."""
    behind: dict[str, datetime | None] = {}
    limits = Thresholds(OLD, OLD, OLD)
    for timeframe in Timeframe:
        aged = ages(store, timeframe, horizon, limits, venue)
        absent = pl.col("open_time").is_null() & (pl.col("overdue") > timedelta(0))
        old = absent | (pl.col("overdue") > OLD)
        for name, opened, known_to in aged.filter(old).select("instrument", "open_time", "known_to").iter_rows():
            if opened is None:
                if with_absent:
                    behind[name] = None
            elif behind.get(name, horizon.now) is not None:
                since = min(known_to, horizon.now - AT_LEAST)
                behind[name] = min(since, behind.get(name) or since)
    return behind
