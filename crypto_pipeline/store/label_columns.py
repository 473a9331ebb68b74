"""The columns of the label tables, one place for the frames and the SQL.

Times are UTC, prices in the quote asset, returns and distances fractions.
"""

from __future__ import annotations

import polars as pl

from crypto_pipeline.market.bars import UTC_MS

_F = pl.Float64()

#: What every label has.
COMMON_SCHEMA: dict[str, pl.DataType] = {
    "signal_ts": UTC_MS,  # open of the signal bar, the key of its features; the signal is known 15 minutes later
    "entry_ts": UTC_MS,  # open of the entry bar
    "entry_px": _F,
    "take_profit": _F,  # of a grid: on the average of the orders that were filled
    "stop_loss": _F,
    "horizon": pl.Int32(),  # bars
    "outcome": pl.String(),  # TP, SL or TIME
    "label_end_ts": UTC_MS,  # close of the bar that ended it: from here on the label is known
    "bars_to_touch": pl.Int32(),  # bars held, the entry bar included
    "exit_px": _F,
    "gross_return": _F,  # on the average entry
    "net_return": _F,  # less slippage at the entry and fees on both sides
    "mae": _F,  # lowest price while held, relative to entry_px: at most 0
    "mfe": _F,  # highest price while held, relative to entry_px: at least 0
    "ambiguous": pl.String(),  # no, minutes, assumed
    "uniqueness": _F,
    "outcome_class": pl.String(),  # WIN, LOSS, BREAKEVEN, TIMEOUT
    "tier": pl.String(),
}

#: By strategy what a setup says of itself.
MEASURES: dict[str, dict[str, pl.DataType]] = {
    "dca": {"fall": _F, "volume_ratio": _F, "rsi14": _F, "orders_filled": pl.Int32(), "average_px": _F},
    "swing": {"breakout": _F, "volume_ratio": _F, "rsi14": _F, "macd_histogram": _F, "day_change": _F},
    "channel": {
        "slope": _F,  # of ln price, per bar
        "sigma": _F,
        "width": _F,
        "containment": _F,
        "touches_upper": pl.Int32(),
        "touches_lower": pl.Int32(),
        "position": _F,
        "day_range": _F,
        "reward_to_risk": _F,
        "fallback": pl.Boolean(),
    },
}

_PROVENANCE: dict[str, pl.DataType] = {
    "params_hash": pl.String(),  # what it was computed with: research.label_parameters
    "data_version": pl.String(),  # what it was computed from, when its values were written
    "recorded_at": pl.Datetime("us", "UTC"),  # since when it is the truth here; as-of reads go by it
}


def label_schema(strategy: str) -> dict[str, pl.DataType]:
    """Columns of labels as they are computed."""
    return COMMON_SCHEMA | MEASURES[strategy]


def stored_schema(strategy: str) -> dict[str, pl.DataType]:
    """Columns of labels as they are read: instrument first, then ``label_schema``, then provenance."""
    return {"instrument": pl.String(), **label_schema(strategy), **_PROVENANCE}
