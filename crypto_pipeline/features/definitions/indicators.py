"""Technical indicators: one definition of each, as functions over arrays of consecutive bars.

Every function takes arrays of Float64 whose last axis is time (one instrument, or a row per instrument) and returns an
array of the same shape, or a named tuple of them. Places are bars in order of time on a gapless grid; NaN is an absent
bar: its own place is NaN; recursive indicators continue after it from where they were, as if the bar were cut out; a
bounded window is NaN while more of its places are absent than ``min_samples`` allows (default: none may). Nothing is
filled, and a NaN inside poisons nothing.

Warm-up: a recursive indicator starts from its first input and forgets it geometrically; before ``ema_warm_up(n)`` or
``wilder_warm_up(n)`` bars a value still depends on where the series was cut. A bounded one needs its window.

Prices enter as ratios or differences only, so units follow the input: RSI, ADX and stochastic run from 0 to 100, ATR,
MACD and bands are in units of price, slopes are per bar. Equal to TA-Lib once warm (tests); what TA-Lib calls 0 because
it is 0/0 (nothing moved) is NaN here.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from crypto_pipeline.arrays.arithmetic import lagged, ratio
from crypto_pipeline.arrays.rolling import (
    Floats,
    held,
    rolling_line,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_moments,
    smoothed,
)

Seed = Literal["first", "sma"]


def ema_warm_up(n: int, tolerance: float = 1e-7) -> int:
    """Bars after which the first value weighs less than ``tolerance`` in an EMA of span ``n``."""
    return math.ceil(math.log(tolerance) / math.log(1 - 2 / (n + 1)))


def wilder_warm_up(n: int, tolerance: float = 1e-9) -> int:
    """Bars after which the first value weighs less than ``tolerance`` in Wilder's smoothing of ``n``."""
    return math.ceil(math.log(tolerance) / math.log(1 - 1 / n))


def sma(x: Floats, n: int, *, min_samples: int | None = None) -> Floats:
    """Simple moving average over ``n`` bars. Warm-up n."""
    return _where_present(x, rolling_mean(x, n, min_samples))


def ema(x: Floats, n: int, *, seed: Seed = "first") -> Floats:
    """Exponential moving average of span ``n``, ``adjust=False``, NaN before the n-th bar.

    Starts from the first value, or with ``seed="sma"`` from the mean of the first n as TA-Lib does. Warm-up
    ``ema_warm_up(n)``.
    """
    return smoothed(x, 2 / (n + 1), n, mean_first=seed == "sma")


def wilder(x: Floats, n: int, *, seed: Seed = "first") -> Floats:
    """Wilder's smoothing: ``s += (x - s) / n``, NaN before the n-th value. Warm-up ``wilder_warm_up(n)``."""
    return smoothed(x, 1 / n, n, mean_first=seed == "sma")


def before(x: Floats) -> Floats:
    """The value of the bar before (absent bars cut out). Warm-up 2."""
    return lagged(held(x))


def change(x: Floats) -> Floats:
    """``x`` minus its value at the bar before (absent bars cut out). Warm-up 2."""
    return x - before(x)


def rsi(close: Floats, n: int = 14, *, seed: Seed = "first") -> Floats:
    """Wilder's relative strength index, 0 to 100; NaN where nothing has moved yet. Warm-up ``wilder_warm_up(n)``."""
    delta = change(close)
    # Of the averages of gains and losses only sum and difference are needed, and those are averages themselves.
    return 50.0 + 50.0 * ratio(wilder(delta, n, seed=seed), wilder(np.abs(delta), n, seed=seed))


def true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    """``max(h - l, |h - c[-1]|, |l - c[-1]|)``, NaN at the first bar. Warm-up 2."""
    last = before(close)
    return np.maximum(last, high) - np.minimum(last, low)


def atr(high: Floats, low: Floats, close: Floats, n: int = 14, *, seed: Seed = "first") -> Floats:
    """Wilder's average true range, in units of price. Warm-up ``wilder_warm_up(n)``."""
    return wilder(true_range(high, low, close), n, seed=seed)


def adx(high: Floats, low: Floats, close: Floats, n: int = 14) -> Floats:
    """Wilder's average directional index, 0 to 100. Smoothed twice: warm-up ``1.2 * wilder_warm_up(n)``.

    A bar at which no direction is defined (nothing moved) leaves the index where it was, as in TA-Lib.
    """
    move = directional_move(change(high), -change(low))
    # The true range by which both movements are divided cancels in their ratio.
    direction = 100.0 * ratio(np.abs(wilder(move, n)), wilder(np.abs(move), n))
    return _where_present(close, held(wilder(direction, n)))


def directional_move(up: Floats, down: Floats) -> Floats:
    """Plus directional movement, or minus its opposite (at most one of them is above 0), of rises of high and falls of
    low. Warm-up 2.
    """
    rise, fall = np.maximum(up, 0.0), np.maximum(down, 0.0)
    # 0 where both are equal; NaN where either is unknown
    moved: Floats = rise * (up > down) - fall * (down > up)
    return moved


class Macd(NamedTuple):
    """MACD line, its signal line and their difference, in units of price."""

    line: Floats
    signal: Floats
    histogram: Floats


def macd(close: Floats, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """Moving average convergence divergence. Warm-up ``ema_warm_up(slow) + ema_warm_up(signal)``."""
    line = ema(close, fast) - ema(close, slow)
    signal_line = ema(line, signal)
    return Macd(line, signal_line, line - signal_line)


class Bands(NamedTuple):
    """Middle, upper and lower band, and the standard deviation behind them, in units of the input."""

    middle: Floats
    upper: Floats
    lower: Floats
    sigma: Floats


def bollinger(close: Floats, n: int = 20, width: float = 2.0, *, min_samples: int | None = None) -> Bands:
    """Bollinger bands: mean over ``n`` bars and ``width`` population standard deviations around it. Warm-up n.

    Sigma is exactly 0 where the window holds one value only.
    """
    middle, sigma = rolling_moments(close, n, min_samples, ddof=0)
    middle, sigma = _where_present(close, middle), _where_present(close, sigma)
    return Bands(middle, middle + width * sigma, middle - width * sigma, sigma)


def stochastic(high: Floats, low: Floats, close: Floats, n: int = 14, *, min_samples: int | None = None) -> Floats:
    """Fast stochastic %K: place of the close in the range of ``n`` bars, 0 to 100; NaN if there is none. Warm-up n."""
    bottom = rolling_min(low, n, min_samples)
    return ratio(100.0 * (close - bottom), rolling_max(high, n, min_samples) - bottom)


class Line(NamedTuple):
    """Least-squares line over a window: slope per bar, fitted value at the last bar, residual standard deviation."""

    slope: Floats
    end: Floats
    sigma: Floats


def ols(y: Floats, n: int, *, min_samples: int | None = None) -> Line:
    """Ordinary least squares of ``y`` on the place over ``n`` bars, NaN before the n-th place. Warm-up n.

    ``sigma`` is the population standard deviation of the residuals, so ``end ± 2 * sigma`` are bands. Absent bars take
    no part, the others keep their place.
    """
    return Line(*rolling_line(y, n, min_samples))


def _where_present(x: Floats, value: Floats) -> Floats:
    """``value`` (changed in place), NaN where the bar itself is absent: a window may have a value there too."""
    value[np.isnan(x)] = np.nan
    return value
