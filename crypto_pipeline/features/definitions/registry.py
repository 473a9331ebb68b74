"""The registry of features: all of them by group, and the columns of their rows.

A new feature is a function and an entry in the list of its group, a migration, a test and a line of docs.
"""

from __future__ import annotations

import polars as pl

from crypto_pipeline.features.definitions.bars import BAR_FEATURES
from crypto_pipeline.features.definitions.feature import Feature
from crypto_pipeline.features.definitions.market import MARKET_FEATURES
from crypto_pipeline.features.definitions.wider_timeframes import HIGHER_FEATURES
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe

FEATURES: tuple[Feature, ...] = (*BAR_FEATURES, *MARKET_FEATURES, *HIGHER_FEATURES)
NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)

#: Columns that are no features (nothing learns from them as a number), each with every timeframe that it needs.
STATES: tuple[Feature, ...] = (
    Feature("eligible", "state", 96, "the row may be used"),
    Feature("regime", "state", 97, "direction of the market"),
    Feature("regime", "state", 200, "direction of the market", timeframe=Timeframe.H4),
    Feature("stress", "state", 97, "how violently the market moves"),
)

#: What ``compute_features`` returns. ``open_time`` is the row's key, ``available_at`` (its close) the first moment at
#: which the row may be used; ``regime`` and ``stress`` are the numbers of ``regimes.Regime`` and ``regimes.Stress``.
ROW_SCHEMA: dict[str, pl.DataType] = {
    "instrument": pl.String(),
    "open_time": UTC_MS,
    "available_at": UTC_MS,
    "eligible": pl.Boolean(),
    "regime": pl.Int8(),
    "stress": pl.Int8(),
    **dict.fromkeys(NAMES, pl.Float64()),
}
