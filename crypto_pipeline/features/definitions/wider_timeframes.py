"""Features from wider bars: of each 15m row the last 1h, 4h and 1d bar that had *closed* when the row closed.

They come from the bar tables of those timeframes, not from 15m bars: a 4h RSI of eight days of 15m bars is wrong. Where
the bar that closed last is absent the feature is null; an older one does not stand in.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from crypto_pipeline.arrays.rolling import Floats
from crypto_pipeline.features.definitions import indicators
from crypto_pipeline.features.definitions.bar_series import BarSeries, mean
from crypto_pipeline.features.definitions.bars import from_ema, log_return
from crypto_pipeline.features.definitions.feature import Feature
from crypto_pipeline.market.timeframes import Timeframe

#: Bars of 1h and 4h after which RSI, ATR and EMA have forgotten where they began.
WARM = 250


def rsi(bars: BarSeries) -> Floats:
    """Relative strength index."""
    return bars.warm(WARM, bars.rsi)


def relative_atr(bars: BarSeries) -> Floats:
    """Average true range relative to the close."""
    return bars.warm(WARM, bars.atr / bars.close)


def from_mean(bars: BarSeries) -> Floats:
    """Close relative to the mean of 20 closes."""
    return bars.close / mean(bars.close, 20) - 1


def mean_true_range(bars: BarSeries) -> Floats:
    """Mean true range of 14 bars relative to the close."""
    return mean(indicators.true_range(bars.high, bars.low, bars.close), 14) / bars.close


def _recursive(timeframe: Timeframe) -> list[Feature]:
    on = f"on the last closed {timeframe} bar"
    return [
        Feature(f"rsi_14_{timeframe}", "higher", WARM, f"Wilder's RSI {on}", rsi, timeframe),
        Feature(f"ema_20_{timeframe}", "higher", WARM, f"close / EMA 20 - 1 {on}", partial(from_ema, n=20, warm=WARM),
                timeframe),
        Feature(f"atr_14_{timeframe}", "higher", WARM, f"ATR 14 / close {on}", relative_atr, timeframe),
    ]  # fmt: skip


#: On days only bounded windows: recursive ones would need most of a year.
DAILY = [
    Feature("lr_7_1d", "higher", 8, "log return over 7 closed days", partial(log_return, n=7), Timeframe.D1),
    Feature("sma_20_1d", "higher", 20, "close / mean of 20 closed days - 1", from_mean, Timeframe.D1),
    Feature("true_range_14_1d", "higher", 15, "mean true range of 14 closed days / close", mean_true_range,
            Timeframe.D1),
]  # fmt: skip

HIGHER_FEATURES = [*_recursive(Timeframe.H1), *_recursive(Timeframe.H4), *DAILY]
HIGHER = (Timeframe.H1, Timeframe.H4, Timeframe.D1)


def values(bars: BarSeries, timeframe: Timeframe) -> dict[str, Floats]:
    """The features of ``timeframe`` for every bar of it; NaN where it is absent."""
    return {
        feature.name: np.where(bars.there, feature.of(bars), np.nan)
        for feature in HIGHER_FEATURES
        if feature.timeframe is timeframe and feature.of is not None
    }
