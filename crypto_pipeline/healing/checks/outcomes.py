"""What a check found: whether it passed, in words and in figures, and who offends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

import polars as pl

from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

Severity: TypeAlias = Literal["warning", "error", "critical"]


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """One evaluated check. ``offenders`` names instruments and times; empty when it passed, or when none is at fault.
    ``figures`` are numbers for plots over time."""

    name: str
    timeframe: Timeframe
    passed: bool
    severity: Severity
    summary: str
    offenders: pl.DataFrame = field(default_factory=pl.DataFrame)
    figures: Mapping[str, float] = field(default_factory=dict)


def coverage_figures(
    store: Store, timeframe: Timeframe, start: datetime, end: datetime, horizon: Horizon, venue: str
) -> dict[str, float]:
    """What every check of ``[start, end)`` tells beside its own figures: bars expected, present, explained, missing,
    and those that were compared with the venue's own."""
    start, end = horizon.clip(timeframe, start, end)
    cells = store.coverage.cells([timeframe], start, end)
    lacking = (pl.col("expected") - pl.col("present") - pl.col("explained")).clip(lower_bound=0)
    totals = cells.select(pl.col("expected", "present", "explained").sum(), lacking.sum().alias("missing"))
    return {
        **{name: int(value) for name, value in totals.row(0, named=True).items()},
        "compared": store.comparisons.within(venue, timeframe, start, end) if start < end else 0,
    }
