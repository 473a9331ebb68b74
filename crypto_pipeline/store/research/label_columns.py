"""The columns of the label tables, one place for the frames and the SQL.

Times are UTC, prices in the quote asset, returns and distances fractions.
"""

from __future__ import annotations

import polars as pl

from crypto_pipeline.market.bars import UTC_MS

_F = pl.Float64()

_I, _S = pl.Int32(), pl.String()
#: What every label has: dtype, and what it means.
_COMMON: dict[str, tuple[pl.DataType, str]] = {
    "signal_ts": (UTC_MS, "Open of the signal bar, the key of its features; the signal is known 15 minutes later."),
    "entry_ts": (UTC_MS, "Open of the entry bar."),
    "entry_px": (_F, "Open of the entry bar, the price of the first order."),
    "take_profit": (_F, "The upper barrier; of a grid on the average of the orders that were filled."),
    "stop_loss": (_F, "The lower barrier."),
    "horizon": (_I, "Bars after which it ends by time."),
    "outcome": (_S, "What came first: TP, SL or TIME."),
    "label_end_ts": (UTC_MS, "Close of the bar that ended it: from here on the label is known."),
    "bars_to_touch": (_I, "Bars held, the entry bar included."),
    "exit_px": (_F, "The price at which it ended."),
    "gross_return": (_F, "Return on the average entry."),
    "net_return": (_F, "The same less slippage at the entry and fees on both sides."),
    "mae": (_F, "Lowest price while held, relative to entry_px: at most 0."),
    "mfe": (_F, "Highest price while held, relative to entry_px: at least 0."),
    "ambiguous": (_S, "Whether one bar could have ended it in two ways, and what decided: no, minutes, assumed."),
    "uniqueness": (_F, "Mean share that it has in the bars it was held, among the labels of its instrument; 0 to 1."),
    "outcome_class": (_S, "WIN, LOSS, BREAKEVEN or TIMEOUT."),
    "tier": (_S, "Tier of the instrument, which decides exits and costs."),
}
_MEASURES: dict[str, dict[str, tuple[pl.DataType, str]]] = {
    "dca": {
        "fall": (_F, "Close relative to the highest high of the window before: below 0."),
        "volume_ratio": (_F, "Mean volume of an hour relative to that of a day."),
        "rsi14": (_F, "RSI 14 at the signal, 0 to 100."),
        "orders_filled": (_I, "Orders of the grid that were filled."),
        "average_px": (_F, "Their average price."),
    },
    "swing": {
        "breakout": (_F, "Close relative to the highest high of the window before: above 0."),
        "volume_ratio": (_F, "Volume relative to its mean over the window."),
        "rsi14": (_F, "RSI 14 at the signal, 0 to 100."),
        "macd_histogram": (_F, "MACD minus its signal line, relative to the close."),
        "day_change": (_F, "Change of the close over 24 hours."),
    },
    "channel": {
        "slope": (_F, "Slope of the channel, of ln price per bar."),
        "sigma": (_F, "Deviation of ln price from its middle."),
        "width": (_F, "Upper edge relative to the lower, minus 1."),
        "containment": (_F, "Share of the closes inside."),
        "touches_upper": (_I, "Touches of the upper edge."),
        "touches_lower": (_I, "Touches of the lower edge."),
        "position": (_F, "Place of the close between the edges, 0 to 1."),
        "day_range": (_F, "Highest high of a day relative to its lowest low, minus 1."),
        "reward_to_risk": (_F, "Net gain at the target relative to net loss at the stop."),
        "fallback": (pl.Boolean(), "Whether the channel's own barriers had to be replaced by those of the tier."),
    },
}
_PROVENANCE: dict[str, tuple[pl.DataType, str]] = {
    "params_hash": (_S, "What it was computed with: research.label_parameters."),
    "data_version": (_S, "What it was computed from, when its values were written."),
    "recorded_at": (pl.Datetime("us", "UTC"), "Since when it is the truth here; as-of reads go by it."),
}

COMMON_SCHEMA: dict[str, pl.DataType] = {name: dtype for name, (dtype, _) in _COMMON.items()}
#: By strategy what a setup says of itself.
MEASURES: dict[str, dict[str, pl.DataType]] = {
    strategy: {name: dtype for name, (dtype, _) in columns.items()} for strategy, columns in _MEASURES.items()
}


def label_schema(strategy: str) -> dict[str, pl.DataType]:
    """Columns of labels as they are computed."""
    return COMMON_SCHEMA | MEASURES[strategy]


def stored_schema(strategy: str) -> dict[str, pl.DataType]:
    """Columns of labels as they are read: instrument first, then ``label_schema``, then provenance."""
    provenance = {name: dtype for name, (dtype, _) in _PROVENANCE.items()}
    return {"instrument": _S, **label_schema(strategy), **provenance}


def meanings(strategy: str) -> dict[str, str]:
    """What each column of ``stored_schema`` means."""
    told = _COMMON | _MEASURES[strategy] | _PROVENANCE
    return {"instrument": "Symbol, as in market.instruments."} | {name: text for name, (_, text) in told.items()}
