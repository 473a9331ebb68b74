"""Columns of scans, for frames and SQL. Times are UTC."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from crypto_pipeline.market.bars import UTC_MS

_COLUMNS: dict[str, tuple[pl.DataType, str]] = {
    "strategy": (pl.String(), "Whose setup was looked for."),
    "instrument": (pl.String(), "Symbol, as in market.instruments."),
    "signal_ts": (UTC_MS, "Open of the bar that was scanned."),
    "params_hash": (pl.String(), "Of the strategy's parameters: research.label_parameters."),
    "decision": (pl.String(), "TAKE, SKIP or NEAR_MISS: exactly one condition is not met."),
    "reason": (
        pl.String(),
        "setup; of a NEAR_MISS the condition that is not met; else conditions, warm_up or bar_missing.",
    ),
    "failed": (pl.Int32(), "Bit i is set where condition i is not met; null: nothing was judged."),
    "values": (pl.List(pl.Float64()), "What the conditions compare, in their order; NaN: not known."),
    "market_regime": (pl.Int16(), "-2 crash, -1 bear, 0 neutral, 1 bull; null: not known."),
    "stress": (pl.Int16(), "-2 panic, -1 caution, 0 calm, 1 euphoria; null: not known."),
    "confidence_score": (
        pl.Float32(),
        "1 where every condition is met, less by how far the others are from it; null: nothing was judged.",
    ),
    "metadata": (pl.String(), "Of a TAKE: all measures of the setup, as JSON."),
}
#: Columns of a frame of scans.
SCAN_SCHEMA: dict[str, pl.DataType] = {name: dtype for name, (dtype, _) in _COLUMNS.items()}
#: Their meanings.
SCAN_MEANINGS: dict[str, str] = {name: text for name, (_, text) in _COLUMNS.items()}


@dataclass(frozen=True, slots=True)
class ScanConditions:
    """The conditions of a strategy under one set of parameters, in the order of ``values`` of its scans.

    ``comparisons``: ``>=``, ``<=``, ``>`` or ``<``.
    """

    strategy: str
    params_hash: str
    names: tuple[str, ...]
    comparisons: tuple[str, ...]
    thresholds: tuple[float, ...]
    meanings: tuple[str, ...]
