"""Setups on the bars of a store, the newest closed bar included: what labels will be of, before anything came of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.features.stored.update import BENCHMARK, Universe
from crypto_pipeline.labels.compute import find_setups
from crypto_pipeline.labels.stored import inputs
from crypto_pipeline.labels.stored.update import BAR_COLUMNS, setup_context
from crypto_pipeline.labels.strategies.base import TIMEFRAME, Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.lake.reads.bars import long_reads
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.times import midnight
from crypto_pipeline.store import Store


def stored_setups(
    store: Store,
    strategy: Strategy,
    parameters: Parameters,
    start: datetime,
    end: datetime,
    tiers: Mapping[str, str],
    *,
    benchmark: str = BENCHMARK,
) -> pl.DataFrame:
    """Setups whose signal bars opened in ``[start, end)`` and have closed by ``end`` (UTC, a bar's open).

    Columns: ``instrument``, ``signal_ts``, ``tier``, and the setup's own measures as ``setup_…``, as training sets have
    them; sorted by signal and instrument. ``tiers``: of the instruments that are looked at. A setup is entered at the
    open of the next bar: of the newest bar that open is still to come, and it counts as a setup.
    """
    names = list(tiers)
    begin = midnight(start) - timedelta(days=inputs.look_back(parameters))
    bars = long_reads(store).read(names, TIMEFRAME, begin, end, columns=BAR_COLUMNS)
    panel = Panel.from_bars(bars, names, begin, end, TIMEFRAME)
    market = Universe.from_store(store, benchmark).benchmark
    context = setup_context(store, strategy, panel, begin, end, market)
    setups = find_setups(strategy, panel, context, parameters, tiers, newest=True)
    numbers, places = setups["number"].to_numpy(), setups["place"].to_numpy()
    measures = {
        name: f"setup_{name}"
        for name in setups.columns
        if name in strategy.definition.table.measures and name not in strategy.definition.known_after_entry
    }
    found = setups.select(
        pl.Series("instrument", names, dtype=pl.String).gather(numbers),
        pl.Series("signal_ts", panel.times(places)).cast(UTC_MS),
        pl.Series("tier", [tiers[name] for name in names], dtype=pl.String).gather(numbers),
        *(pl.col(name).alias(renamed) for name, renamed in measures.items()),
    )
    inside = pl.col("signal_ts").is_between(start, end, closed="left")
    return found.filter(inside).sort("signal_ts", "instrument")
