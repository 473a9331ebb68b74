"""Figures of coverage that every check of bars shows beside its own."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store


def coverage_figures(
    store: Store, timeframe: Timeframe, start: datetime, end: datetime, horizon: Horizon, venue: str
) -> dict[str, float]:
    """Bars of ``timeframe`` in ``[start, end)``: ``expected``, ``present``, ``explained`` and ``missing``, and how many
    were ``compared`` with the bars that ``venue`` itself states."""
    start, end = horizon.clip(timeframe, start, end)
    cells = store.coverage.cells([timeframe], start, end)
    lacking = (pl.col("expected") - pl.col("present") - pl.col("explained")).clip(lower_bound=0)
    totals = cells.select(pl.col("expected", "present", "explained").sum(), lacking.sum().alias("missing"))
    return {
        **{name: int(value) for name, value in totals.row(0, named=True).items()},
        "compared": store.comparisons.within(venue, timeframe, start, end) if start < end else 0,
    }
