"""Signals from stored scans, and signals as they were decided."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.labels.strategies.base import WEEK
from crypto_pipeline.labels.strategies.registry import STRATEGIES
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.trading.signals import MEASURE, SIGNAL_SCHEMA, MarketStates, merged, signals_of

#: Columns of signals that a scan has, by their name there.
_OF_SCAN = {"stress": "stress", "market_regime": "regime"}


def scanned_signals(takes: pl.DataFrame, panel: Panel, tiers: Mapping[str, str], benchmark: str | None) -> pl.DataFrame:
    """Signals (SIGNAL_SCHEMA and measures, and ``measures`` as JSON) from scans with the decision TAKE.

    ``panel`` has the bars of a week before each, also those of ``benchmark`` where that is one of its instruments.
    Predictions are left empty.
    """
    states = MarketStates.unknown(panel.width)
    if benchmark in panel.names:
        close = panel.close[panel.names.index(benchmark)]
        before = np.concatenate((np.full(min(WEEK, len(close)), np.nan), close[: max(0, len(close) - WEEK)]))
        states = MarketStates(states.stress, states.regime, close / before - 1)
    frames = []
    numbers = {name: number for number, name in enumerate(panel.names)}
    for strategy in STRATEGIES:
        own = takes.filter(pl.col("strategy") == str(strategy))
        if own.is_empty():
            continue
        place = (own["signal_ts"].cast(UTC_MS).to_physical() - panel.grid.first) // panel.grid.step
        setups = pl.concat(
            [
                own.select(pl.col("instrument").replace_strict(numbers, return_dtype=pl.Int64).alias("number")),
                place.alias("place").to_frame(),
                _measures(own["metadata"]),
            ],
            how="horizontal",
        )
        known = [pl.Series(name, own[of]).cast(SIGNAL_SCHEMA[name]) for of, name in _OF_SCAN.items()]
        frame = signals_of(strategy, panel, setups, tiers, "", states)
        frames.append(frame.with_columns(*known, own["params_hash"], own["metadata"].alias("measures")))
    return merged(frames) if frames else pl.DataFrame(schema=SIGNAL_SCHEMA | {"measures": pl.String()})


def decided_signals(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of the table of signals in the form of ``scanned_signals``, with their ``parameters_hash``."""
    frames = []
    for strategy in STRATEGIES:
        own = rows.filter(pl.col("strategy") == str(strategy))
        if own.height:
            measures = _measures(own["measures"])
            measures = measures.rename({name: MEASURE + name for name in measures.columns})
            kept = own.select(*SIGNAL_SCHEMA, "measures", "parameters_hash")
            frames.append(pl.concat([kept, measures], how="horizontal"))
    empty = SIGNAL_SCHEMA | {"measures": pl.String(), "parameters_hash": pl.String()}
    return merged(frames) if frames else pl.DataFrame(schema=empty)


def _measures(texts: pl.Series) -> pl.DataFrame:
    """A column per measure of the JSON objects."""
    rows = [json.loads(text) for text in texts]
    return pl.DataFrame(rows, infer_schema_length=None)
