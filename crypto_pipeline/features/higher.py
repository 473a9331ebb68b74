"""Features from wider bars: of each 15m row the last 1h, 4h and 1d bar that had *closed* when the row closed.

They come from the bar tables of those timeframes, not from 15m bars: a 4h RSI of eight days of 15m bars is wrong. Where
the bar that closed last is absent the feature is null; an older one does not stand in.
"""

from __future__ import annotations

import polars as pl

from crypto_pipeline.features import indicators as ind
from crypto_pipeline.features.bar_features import C, Evaluate, lr, mean
from crypto_pipeline.features.registry import Feature, enough
from crypto_pipeline.market.timeframes import Timeframe

#: Bars of 1h and 4h after which RSI, ATR and EMA have forgotten where they began.
WARM = 250
_warm = pl.col("there").rolling_sum(WARM, min_samples=1) >= enough(WARM)


def _recursive(timeframe: Timeframe) -> list[Feature]:
    def feature(name: str, text: str, value: pl.Expr) -> Feature:
        expr = pl.when(_warm).then(value)
        return Feature(
            f"{name}_{timeframe}", "higher", WARM, f"{text} on the last closed {timeframe} bar", expr, timeframe
        )

    return [
        feature("rsi_14", "Wilder's RSI", ind.rsi()),
        feature("ema_20", "close / EMA 20 - 1", C / ind.ema("close", 20) - 1),
        feature("atr_14", "ATR 14 / close", ind.atr() / C),
    ]


#: On days only bounded windows: recursive ones would need most of a year.
DAILY = [
    Feature("lr_7_1d", "higher", 8, "log return over 7 closed days", lr(7), Timeframe.D1),
    Feature("sma_20_1d", "higher", 20, "close / mean of 20 closed days - 1", C / mean(C, 20) - 1, Timeframe.D1),
    Feature("true_range_14_1d", "higher", 15, "mean true range of 14 closed days / close",
            ind.true_range().rolling_mean(14, min_samples=enough(14)) / C, Timeframe.D1),
]  # fmt: skip

HIGHER_FEATURES = [*_recursive(Timeframe.H1), *_recursive(Timeframe.H4), *DAILY]
HIGHER = (Timeframe.H1, Timeframe.H4, Timeframe.D1)


def values(bars: pl.DataFrame, timeframe: Timeframe, evaluate: Evaluate) -> pl.DataFrame:
    """The features of ``timeframe`` for every bar (``instrument``, ``open_time``, prices; absent bars null)."""
    frame = bars.with_columns(pl.col("open", "high", "low", "close").fill_nan(None)).with_columns(
        y=C.log(), there=C.is_not_null().cast(pl.Int32)
    )
    wanted = [
        pl.when(pl.col("there") == 1).then(feature.expr).alias(feature.name)
        for feature in HIGHER_FEATURES
        if feature.timeframe is timeframe and feature.expr is not None
    ]
    return evaluate(frame, wanted)


__all__ = ["DAILY", "HIGHER", "HIGHER_FEATURES", "WARM", "values"]
