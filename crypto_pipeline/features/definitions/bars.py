"""Features of an instrument from its own 15m bars, each a function of its ``BarSeries``.

Volatilities are per day (√96 times that of a bar), volumes in the base asset, "dollar" volume is close times volume in
the quote asset. Where a function gives NaN or an infinity the feature is null.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from crypto_pipeline.arrays.arithmetic import lagged, ratio
from crypto_pipeline.arrays.rolling import Floats, rolling_mean, rolling_moments
from crypto_pipeline.features.definitions import indicators
from crypto_pipeline.features.definitions.bar_series import DAY, WEEK, BarSeries, Flags, mean
from crypto_pipeline.features.definitions.feature import Feature, enough

#: Bars after which recursive indicators have forgotten where they began, to better than 1e-7 of their spread.
WARM_EMA20, WARM_WILDER, WARM_EMA96 = 200, 300, 800
_DAILY = math.sqrt(DAY)


def log_return(bars: BarSeries, n: int) -> Floats:
    """Log return over ``n`` rows."""
    return bars.lr(n)


def volatility(bars: BarSeries, n: int) -> Floats:
    """Deviation of the log returns of ``n`` bars, per day."""
    return bars.sigma(n) * _DAILY


def volatility_ratio(bars: BarSeries) -> Floats:
    """A day's volatility relative to a week's."""
    return ratio(bars.sigma(DAY), bars.sigma(WEEK))


def parkinson(bars: BarSeries) -> Floats:
    """Volatility from highs and lows of a day, per day."""
    return np.sqrt(mean(np.log(bars.high / bars.low) ** 2, DAY) / (4 * math.log(2))) * _DAILY


def bollinger_width(bars: BarSeries) -> Floats:
    """Width of the bands relative to their middle."""
    return ratio(4 * bars.bands.sigma, bars.bands.middle)


def bollinger_z(bars: BarSeries) -> Floats:
    """Place of the close in deviations from the middle band."""
    return ratio(bars.close - bars.bands.middle, bars.bands.sigma)


def relative_atr(bars: BarSeries) -> Floats:
    """Average true range relative to the close."""
    return bars.warm(WARM_WILDER, bars.atr / bars.close)


def from_ema(bars: BarSeries, n: int, warm: int) -> Floats:
    """Close relative to its exponential average."""
    return bars.warm(warm, bars.close / indicators.ema(bars.close, n) - 1)


def macd(bars: BarSeries) -> Floats:
    """MACD's histogram in units of the average true range."""
    return bars.warm(WARM_WILDER, ratio(indicators.macd(bars.close).histogram, bars.atr))


def rsi(bars: BarSeries) -> Floats:
    """Relative strength index."""
    return bars.warm(WARM_WILDER, bars.rsi)


def rsi_change(bars: BarSeries) -> Floats:
    """Relative strength index minus that of 4 rows before."""
    now = rsi(bars)
    return now - lagged(now, 4)


def adx(bars: BarSeries) -> Floats:
    """Average directional index."""
    return bars.warm(WARM_WILDER, indicators.adx(bars.high, bars.low, bars.close))


def slope(bars: BarSeries) -> Floats:
    """Least-squares slope of the log close, per bar."""
    return indicators.ols(bars.y, DAY, min_samples=enough(DAY)).slope


def place_in_range(bars: BarSeries, n: int, scale: float) -> Floats:
    """Place of the close between lowest low and highest high, from 0 to ``scale``."""
    low = bars.low_of(n)
    return ratio(scale * (bars.close - low), bars.high_of(n) - low)


def from_high(bars: BarSeries, n: int) -> Floats:
    """Close relative to the highest high."""
    return bars.close / bars.high_of(n) - 1


def from_low(bars: BarSeries, n: int) -> Floats:
    """Close relative to the lowest low."""
    return bars.close / bars.low_of(n) - 1


def breakout(bars: BarSeries) -> Floats:
    """Close relative to the highest high of the 80 bars before."""
    return bars.close / lagged(bars.high_of(80)) - 1


def volume_z(bars: BarSeries) -> Floats:
    """Log volume in deviations from its mean."""
    log_volume = np.log1p(bars.volume)
    middle, sigma = rolling_moments(log_volume, DAY, enough(DAY))
    return ratio(log_volume - middle, sigma)


def volume_ratio(bars: BarSeries) -> Floats:
    """Mean volume of 16 bars relative to that of a day."""
    return ratio(bars.mean_volume(16), bars.mean_volume(DAY))


def volume_to_slot(bars: BarSeries) -> Floats:
    """Volume relative to its mean at the same time of the seven days before."""
    total = lagged(bars.volume, DAY)
    for day in range(2, 8):
        total += lagged(bars.volume, DAY * day)
    return ratio(bars.volume, total / 7)


def signed_volume(bars: BarSeries) -> Floats:
    """Volume of rising minus that of falling bars, relative to all."""
    volume = np.where(np.isnan(bars.r), np.nan, bars.volume)
    return ratio(mean(np.sign(bars.r) * volume, 16), mean(volume, 16))


def dollar_volume(bars: BarSeries) -> Floats:
    """Log of the mean dollar volume; NaN where nothing was traded."""
    return np.log(mean(bars.dollar, DAY))


def body(bars: BarSeries) -> Floats:
    """Close minus open, relative to the range."""
    return (bars.close - bars.open) / bars.span


def upper_wick(bars: BarSeries) -> Floats:
    """High above open and close, relative to the range."""
    return (bars.high - np.maximum(bars.open, bars.close)) / bars.span


def lower_wick(bars: BarSeries) -> Floats:
    """Low below open and close, relative to the range."""
    return (np.minimum(bars.open, bars.close) - bars.low) / bars.span


def amihud(bars: BarSeries) -> Floats:
    """Log of the mean price impact. Bars without trades have none; half of the bars must have traded."""
    impact = np.where(bars.volume > 0, np.abs(bars.r) / bars.dollar, np.nan)
    return np.where(bars.sigma(DAY) > 0, np.log(rolling_mean(impact, DAY, DAY // 2)), np.nan)


def autocorrelation(bars: BarSeries) -> Floats:
    """Correlation of returns with those a bar before."""
    return correlation(*bars.with_itself)


def correlation(of_x: Floats, of_y: Floats, together: Floats) -> Floats:
    """Pearson's correlation from two variances and a covariance, -1 to 1; NaN where either does not move."""
    return np.clip(ratio(together, np.sqrt(of_x) * np.sqrt(of_y)), -1.0, 1.0)


RETURNS = [
    Feature(f"lr_{n}", "return", n + 1, f"log return over {n} bars", partial(log_return, n=n))
    for n in (1, 4, 16, DAY, WEEK)
]
VOLATILITY = [
    *(
        Feature(f"rv_{n}", "volatility", n + 1, f"deviation of 1-bar log returns over {n} bars, per day",
                partial(volatility, n=n))
        for n in (16, DAY, WEEK)
    ),
    Feature("rv_96_to_672", "volatility", 673, "rv_96 / rv_672", volatility_ratio),
    Feature("parkinson_96", "volatility", 97, "Parkinson's volatility from high and low over 96 bars, per day",
            parkinson),
    Feature("bollinger_width", "volatility", 20, "4 sigma / mean of 20 closes", bollinger_width),
    Feature("bollinger_z", "volatility", 20, "(close - mean) / sigma of 20 closes", bollinger_z),
    Feature("atr_14", "volatility", WARM_WILDER, "ATR 14 / close", relative_atr),
]  # fmt: skip
TREND = [
    Feature("ema_20", "trend", WARM_EMA20, "close / EMA 20 - 1", partial(from_ema, n=20, warm=WARM_EMA20)),
    Feature("ema_96", "trend", WARM_EMA96, "close / EMA 96 - 1", partial(from_ema, n=96, warm=WARM_EMA96)),
    Feature("macd", "trend", WARM_WILDER, "(MACD 12 26 - signal 9) / ATR 14", macd),
    Feature("rsi_14", "trend", WARM_WILDER, "Wilder's RSI, 0 to 100", rsi),
    Feature("rsi_14_change_4", "trend", WARM_WILDER + 4, "RSI minus that of 4 bars before", rsi_change),
    Feature("adx_14", "trend", WARM_WILDER, "Wilder's ADX, 0 to 100", adx),
    Feature("slope_96", "trend", DAY, "OLS slope of the log close over 96 bars, per bar", slope),
    Feature("stochastic_14", "trend", 14, "fast %K 14, 0 to 100", partial(place_in_range, n=14, scale=100.0)),
]
LOCATION = [
    Feature("from_high_16", "location", 16, "close / highest high of 16 bars - 1", partial(from_high, n=16)),
    Feature("from_high_96", "location", 96, "close / highest high of 96 bars - 1", partial(from_high, n=DAY)),
    Feature("from_low_96", "location", 96, "close / lowest low of 96 bars - 1", partial(from_low, n=DAY)),
    Feature("donchian_96", "location", 96, "place of the close between low and high of 96 bars, 0 to 1",
            partial(place_in_range, n=DAY, scale=1.0)),
    Feature("breakout_80", "location", 81, "close / highest high of the 80 bars before - 1", breakout),
]  # fmt: skip
VOLUME = [
    Feature("volume_z_96", "volume", 96, "z of ln(1 + volume) over 96 bars", volume_z),
    Feature("volume_16_to_96", "volume", 96, "mean volume of 16 bars / of 96 bars", volume_ratio),
    Feature("volume_to_slot", "volume", 673, "volume / its mean in the same quarter of an hour of the last 7 days",
            volume_to_slot),
    Feature("signed_volume_16", "volume", 17, "volume of rising minus falling bars / volume, 16 bars, -1 to 1",
            signed_volume),
    Feature("dollar_volume_96", "volume", 96, "ln of the mean dollar volume of 96 bars", dollar_volume),
]  # fmt: skip
SHAPE = [
    Feature("body", "shape", 1, "(close - open) / (high - low)", body),
    Feature("upper_wick", "shape", 1, "high above the body / (high - low)", upper_wick),
    Feature("lower_wick", "shape", 1, "low below the body / (high - low)", lower_wick),
    Feature("amihud_96", "shape", 97, "ln of the mean of |return| / dollar volume over traded bars of 96", amihud),
    Feature("autocorrelation_96", "shape", 98, "correlation of 1-bar returns with those a bar before, 96 bars",
            autocorrelation),
]  # fmt: skip
#: Of the moment alone: the same for every instrument.
TIME = [
    Feature("hour_sin", "time", 1, "sine of the hour of the open, UTC"),
    Feature("hour_cos", "time", 1, "cosine of the hour of the open, UTC"),
    Feature("weekday_sin", "time", 1, "sine of the weekday of the open, Monday 0"),
    Feature("weekday_cos", "time", 1, "cosine of the weekday of the open, Monday 0"),
]

BAR_FEATURES = [*RETURNS, *VOLATILITY, *TREND, *LOCATION, *VOLUME, *SHAPE, *TIME]


def eligible(bars: BarSeries) -> Flags:
    """Whether a row may be used at all: at most 5 % of its last 96 bars are missing, and half of them traded."""
    return bars.there & bars.has(DAY) & bars.trades_in_half(DAY)


def clock(opens: Floats) -> dict[str, Floats]:
    """The features of TIME for open times in days since 1970, UTC."""
    hour = 2 * math.pi * (opens % 1.0)
    # 1970 began on a Thursday
    weekday = 2 * math.pi / 7 * ((np.floor(opens) + 3) % 7)
    return {
        "hour_sin": np.sin(hour), "hour_cos": np.cos(hour),
        "weekday_sin": np.sin(weekday), "weekday_cos": np.cos(weekday),
    }  # fmt: skip
