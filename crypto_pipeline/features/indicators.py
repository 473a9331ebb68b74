"""Technical indicators: one definition of each, as Polars expressions over consecutive bars of one instrument.

Every function takes columns (names or expressions, Float64) and returns one expression (or a named tuple of them) with
a value per row. Rows are bars in order of time on a gapless grid: an absent bar is a row of nulls. A null or NaN in the
input is an absent bar: its own row is null; recursive indicators continue after it from where they were, as if the bar
were cut out; a bounded window is null while more of its rows are absent than ``min_samples`` allows (default: none
may). Nothing is filled. With several instruments in one frame use ``.over("instrument")``, or (faster) one frame each.

Warm-up: a recursive indicator starts from its first input and forgets it geometrically; before ``ema_warm_up(n)`` or
``wilder_warm_up(n)`` bars a value still depends on where the series was cut. A bounded one needs its window.

Prices enter as ratios or differences only, so units follow the input: RSI, ADX and stochastic run from 0 to 100, ATR,
MACD and bands are in units of price, slopes are per bar. Equal to TA-Lib once warm (tests); what TA-Lib calls 0 because
it is 0/0 (nothing moved) is null here.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import polars as pl

Column: TypeAlias = str | pl.Expr
Seed = Literal["first", "sma"]


def ema_warm_up(n: int, tolerance: float = 1e-7) -> int:
    """Bars after which the first value weighs less than ``tolerance`` in an EMA of span ``n``."""
    return math.ceil(math.log(tolerance) / math.log(1 - 2 / (n + 1)))


def wilder_warm_up(n: int, tolerance: float = 1e-9) -> int:
    """Bars after which the first value weighs less than ``tolerance`` in Wilder's smoothing of ``n``."""
    return math.ceil(math.log(tolerance) / math.log(1 - 1 / n))


def clean(column: Column) -> pl.Expr:
    """A column with NaN as null: one NaN poisons a recursive indicator for good.

    A computed expression is taken as it is (its columns were to be cleaned): testing it would compute it thrice.
    """
    if isinstance(column, str):
        column = pl.col(column)
    return column.fill_nan(None) if column.meta.is_column() else column


def sma(x: Column, n: int, *, min_samples: int | None = None) -> pl.Expr:
    """Simple moving average over ``n`` rows. Warm-up n."""
    values = clean(x)
    return _where(values, values.rolling_mean(n, min_samples=min_samples or n))


def ema(x: Column, n: int, *, seed: Seed = "first") -> pl.Expr:
    """Exponential moving average of span ``n``, ``adjust=False``, null before the n-th bar.

    Starts from the first value, or with ``seed="sma"`` from the mean of the first n as TA-Lib does. Warm-up
    ``ema_warm_up(n)``.
    """
    return _recursive(clean(x), 2 / (n + 1), n, seed)


def wilder(x: Column, n: int, *, seed: Seed = "first") -> pl.Expr:
    """Wilder's smoothing: ``s += (x - s) / n``, null before the n-th value. Warm-up ``wilder_warm_up(n)``."""
    return _recursive(clean(x), 1 / n, n, seed)


def change(x: Column) -> pl.Expr:
    """``x`` minus its value at the bar before (absent bars cut out). Warm-up 2."""
    values = clean(x)
    return values - values.forward_fill().shift(1)


def rsi(close: Column = "close", n: int = 14, *, seed: Seed = "first") -> pl.Expr:
    """Wilder's relative strength index, 0 to 100; null where nothing has moved yet. Warm-up ``wilder_warm_up(n)``."""
    delta = change(close)
    # Of the averages of gains and losses only sum and difference are needed, and those are averages themselves.
    return 50.0 + 50.0 * _ratio(wilder(delta, n, seed=seed), wilder(delta.abs(), n, seed=seed))


def true_range(high: Column = "high", low: Column = "low", close: Column = "close") -> pl.Expr:
    """``max(h - l, |h - c[-1]|, |l - c[-1]|)``, null at the first bar. Warm-up 2."""
    h, low_, before = clean(high), clean(low), clean(close).forward_fill().shift(1)
    top = pl.when(before > h).then(before).otherwise(h)
    bottom = pl.when(before < low_).then(before).otherwise(low_)
    return pl.when(before.is_not_null()).then(top - bottom)


def atr(
    high: Column = "high", low: Column = "low", close: Column = "close", n: int = 14, *, seed: Seed = "first"
) -> pl.Expr:
    """Wilder's average true range, in units of price. Warm-up ``wilder_warm_up(n)``."""
    return wilder(true_range(high, low, close), n, seed=seed)


def adx(high: Column = "high", low: Column = "low", close: Column = "close", n: int = 14) -> pl.Expr:
    """Wilder's average directional index, 0 to 100. Smoothed twice: warm-up ``1.2 * wilder_warm_up(n)``.

    A bar at which no direction is defined (nothing moved) leaves the index where it was, as in TA-Lib.
    """
    return adx_of(directional_move(change(high), -change(low)), close, n)


def directional_move(up: pl.Expr, down: pl.Expr) -> pl.Expr:
    """Plus directional movement, or minus its opposite (at most one of them is above 0), of rises of high and falls of
    low. Warm-up 2.
    """
    moved = pl.when((up > down) & (up > 0)).then(up).when((down > up) & (down > 0)).then(-down).otherwise(0.0)
    return pl.when(up.is_not_null() & down.is_not_null()).then(moved)


def adx_of(move: pl.Expr, close: Column = "close", n: int = 14) -> pl.Expr:
    """``adx`` of bars whose ``directional_move`` is known already."""
    # The true range by which both movements are divided cancels in their ratio.
    direction = _ratio(100.0 * wilder(move, n).abs(), wilder(move.abs(), n))
    return _where(clean(close), wilder(direction, n).forward_fill())


class Macd(NamedTuple):
    """MACD line, its signal line and their difference, in units of price."""

    line: pl.Expr
    signal: pl.Expr
    histogram: pl.Expr


def macd(close: Column = "close", fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """Moving average convergence divergence. Warm-up ``ema_warm_up(slow) + ema_warm_up(signal)``."""
    line = ema(close, fast) - ema(close, slow)
    signal_line = ema(line, signal)
    return Macd(line, signal_line, line - signal_line)


class Bands(NamedTuple):
    """Middle, upper and lower band, and the standard deviation behind them, in units of the input."""

    middle: pl.Expr
    upper: pl.Expr
    lower: pl.Expr
    sigma: pl.Expr


def bollinger(close: Column = "close", n: int = 20, width: float = 2.0, *, min_samples: int | None = None) -> Bands:
    """Bollinger bands: mean over ``n`` rows and ``width`` population standard deviations around it. Warm-up n.

    Sigma is exactly 0 where the window holds one value only.
    """
    values = clean(close)
    middle = sma(close, n, min_samples=min_samples)
    sigma = _where(values, rolling_sigma(values, n, min_samples=min_samples, ddof=0))
    return Bands(middle, middle + width * sigma, middle - width * sigma, sigma)


def rolling_sigma(x: Column, n: int, *, min_samples: int | None = None, ddof: int = 1) -> pl.Expr:
    """Standard deviation over ``n`` rows, exactly 0 where all are equal (a running sum leaves a residue). Warm-up n."""
    values = clean(x)
    needed = min_samples or n
    flat = values.rolling_max(n, min_samples=needed) == values.rolling_min(n, min_samples=needed)
    return pl.when(flat).then(0.0).otherwise(values.rolling_std(n, min_samples=needed, ddof=ddof))


def stochastic(
    high: Column = "high",
    low: Column = "low",
    close: Column = "close",
    n: int = 14,
    *,
    min_samples: int | None = None,
) -> pl.Expr:
    """Fast stochastic %K: place of the close in the range of ``n`` rows, 0 to 100; null if there is none. Warm-up n."""
    needed = min_samples or n
    top = clean(high).rolling_max(n, min_samples=needed)
    bottom = clean(low).rolling_min(n, min_samples=needed)
    return _ratio(100.0 * (clean(close) - bottom), top - bottom)


class Line(NamedTuple):
    """Least-squares line over a window: slope per row, fitted value at the last row, residual standard deviation."""

    slope: pl.Expr
    end: pl.Expr
    sigma: pl.Expr


def ols(y: Column, n: int, *, min_samples: int | None = None) -> Line:
    """Ordinary least squares of ``y`` on the row number over ``n`` rows. Warm-up n.

    ``sigma`` is the population standard deviation of the residuals, so ``end ± 2 * sigma`` are bands. Absent rows take
    no part, the others keep their place. Every window is summed for itself: no error runs along the series.
    """
    needed = min_samples or n
    fit = clean(y).map_batches(
        lambda series: _ols(series, n, needed),
        return_dtype=pl.Struct({"slope": pl.Float64, "end": pl.Float64, "sigma": pl.Float64}),
    )
    return Line(*(fit.struct.field(name) for name in ("slope", "end", "sigma")))


def _ols(series: pl.Series, n: int, needed: int) -> pl.Series:
    """Struct (slope, end, sigma) per row. Sums over a window are correlations with 1, k and k² (k = 0: its middle)."""
    rows = len(series)
    names = ("slope", "end", "sigma")
    if rows < n:
        return pl.DataFrame({name: pl.Series([None] * rows, dtype=pl.Float64) for name in names}).to_struct(series.name)
    present = series.is_not_null().to_numpy().astype(np.float64)
    # Relative to the first value: squares stay small, so little is lost when they are subtracted.
    first = series.drop_nulls().first()
    y = (series - (first if first is not None else 0.0)).fill_null(0.0).to_numpy()
    k = np.arange(n) - (n - 1) / 2
    one = np.ones(n)
    whole = bool(present.all())
    count = np.full(rows - n + 1, float(n)) if whole else np.correlate(present, one, "valid")
    sum_k = np.zeros(1) if whole else np.correlate(present, k, "valid")
    sum_kk = np.full(1, float((k * k).sum())) if whole else np.correlate(present, k * k, "valid")
    sum_y, sum_ky, sum_yy = (np.correlate(v, w, "valid") for v, w in ((y, one), (y, k), (y * y, one)))
    with np.errstate(divide="ignore", invalid="ignore"):
        sxx = sum_kk - sum_k * sum_k / count
        sxy = sum_ky - sum_k * sum_y / count
        slope = sxy / sxx
        end = sum_y / count + slope * (k[-1] - sum_k / count) + (first if first is not None else 0.0)
        sigma = np.sqrt(np.maximum(sum_yy - sum_y * sum_y / count - slope * sxy, 0.0) / count)
    last = present[n - 1 :] > 0
    valid = last & (count >= needed - 0.5)
    pad = np.full(n - 1, np.nan)
    columns = {
        name: pl.Series(np.concatenate((pad, np.where(valid, values, np.nan)))).fill_nan(None)
        for name, values in zip(names, (slope, end, sigma), strict=True)
    }
    return pl.DataFrame(columns).to_struct(series.name)


def _recursive(values: pl.Expr, alpha: float, n: int, seed: Seed) -> pl.Expr:
    if seed == "sma":
        seen = values.is_not_null().cast(pl.Int32).cum_sum()
        mean = values.cum_sum() / n
        values = pl.when(seen < n).then(None).when(seen == n).then(mean).otherwise(values)
        n = 1
    return values.ewm_mean(alpha=alpha, adjust=False, min_samples=n, ignore_nulls=True)


def _ratio(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """``part / whole``, null where the whole is 0 or less (by rounding)."""
    return pl.when(whole > 0).then(part / whole)


def _where(present: pl.Expr, value: pl.Expr) -> pl.Expr:
    """``value`` on rows that are there; windows also have one where the row itself is absent."""
    return pl.when(present.is_not_null()).then(value)
