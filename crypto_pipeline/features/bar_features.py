"""Features of one instrument from its own 15m bars, as expressions over a gapless grid of bars.

``base`` adds the columns that features are made of, ``share`` the windows that several of them look at; an absent bar
is a row of nulls (see ``indicators``). ``lr(n)`` is the log return over n bars of the grid: null when either end is
missing. Volatilities are per day (√96 times that of a bar), volumes in the base asset, "dollar" volume is close times
volume in the quote asset.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import polars as pl

from crypto_pipeline.features import indicators as ind
from crypto_pipeline.features.registry import Feature, enough

O, H, L, C, V = (pl.col(name) for name in ("open", "high", "low", "close", "volume"))  # noqa: E741
#: log close, log return over one bar, average true range, RSI, dollar volume, high - low: see ``base``.
Y, R, ATR, RSI, DOLLAR, RANGE = (pl.col(name) for name in ("y", "r", "atr", "rsi", "dollar", "range"))
#: Returns and those of the bar before, and returns and the benchmark's, where both are there.
R_0, R_1, R_OWN, R_BENCHMARK = (pl.col(name) for name in ("r_0", "r_1", "r_own", "r_benchmark"))

DAY, WEEK = 96, 672
_DAILY = math.sqrt(DAY)
#: Bars after which recursive indicators have forgotten where they began, to better than 1e-7 of their spread.
WARM_EMA20, WARM_WILDER, WARM_EMA96 = 200, 300, 800
_WARM = (WARM_EMA20, WARM_WILDER, WARM_EMA96)

#: Evaluates expressions within each instrument of a frame.
Evaluate = Callable[[pl.DataFrame, Sequence[pl.Expr]], pl.DataFrame]


def base(bars: pl.DataFrame, evaluate: Evaluate) -> pl.DataFrame:
    """``bars`` (instrument, open_time, prices and volume; Float64, gapless grids) with what features are made of."""
    prices = ("open", "high", "low", "close", "volume")
    frame = bars.with_columns(pl.col(prices).fill_nan(None)).with_columns(
        y=C.log(),
        range=pl.when(H > L).then(H - L),
        dollar=C * V,
        there=C.is_not_null().cast(pl.Int32),
        log_volume=V.log1p(),
    )
    counts = [_counted(n).alias(f"warm_{n}") for n in _WARM]
    moves = [ind.change("high").alias("up"), (-ind.change("low")).alias("down")]
    more = [Y.diff().alias("r"), Y.diff().shift(1).alias("r_1"), ind.atr().alias("atr"), ind.rsi().alias("rsi")]
    frame = frame.hstack(evaluate(frame, [*more, *moves, *counts]).drop("instrument"))
    return frame.with_columns(
        move=ind.directional_move(pl.col("up"), pl.col("down")),
        r_0=pl.when(R_1.is_not_null()).then(R),
        r_1=pl.when(R.is_not_null()).then(R_1),
        traded_volume=pl.when(R.is_not_null()).then(V),
        impact=pl.when(V > 0).then(R.abs() / DOLLAR),
    )


def share(frame: pl.DataFrame, evaluate: Evaluate) -> pl.DataFrame:
    """``frame`` (of ``base``, with ``benchmark_r`` beside) with the windows that several features look at: SHARED."""
    both = R.is_not_null() & pl.col("benchmark_r").is_not_null()
    frame = frame.with_columns(
        pl.when(both).then("r").alias("r_own"), pl.when(both).then("benchmark_r").alias("r_benchmark")
    )
    return frame.hstack(evaluate(frame, [expr.alias(name) for name, expr in SHARED.items()]).drop("instrument"))


def _counted(n: int) -> pl.Expr:
    return pl.col("there").rolling_sum(n, min_samples=1) >= enough(n)


def warm(n: int, value: pl.Expr) -> pl.Expr:
    """``value`` where enough of the last ``n`` bars are there, however far back the frame reaches."""
    return pl.when(pl.col(f"warm_{n}")).then(value)


def lr(n: int) -> pl.Expr:
    """Log return over ``n`` bars."""
    return Y - Y.shift(n)


def mean(x: pl.Expr, n: int) -> pl.Expr:
    """Mean over ``n`` rows of which enough are there."""
    return x.rolling_mean(n, min_samples=enough(n))


def top(x: pl.Expr, n: int) -> pl.Expr:
    """Maximum over ``n`` rows of which enough are there."""
    return x.rolling_max(n, min_samples=enough(n))


def bottom(x: pl.Expr, n: int) -> pl.Expr:
    """Minimum over ``n`` rows of which enough are there."""
    return x.rolling_min(n, min_samples=enough(n))


def sigma(returns: pl.Expr, n: int) -> pl.Expr:
    """Sample standard deviation over ``n`` rows of which enough are there; exactly 0 where none of them moved."""
    moves = (returns != 0).fill_null(value=False).cum_sum()
    still = moves == moves.shift(n, fill_value=0)
    deviation = returns.rolling_std(n, min_samples=enough(n))
    return pl.when(still & deviation.is_not_null()).then(0.0).otherwise(deviation)


def covariance(x: pl.Expr, y: pl.Expr, n: int) -> pl.Expr:
    """Sample covariance over ``n`` rows of which enough are there; ``x`` and ``y`` must be null together."""
    rows = x.is_not_null().cast(pl.Float64).rolling_sum(n, min_samples=1)
    return (mean(x * y, n) - mean(x, n) * mean(y, n)) * (rows / (rows - 1))


def correlation(together: pl.Expr, a: pl.Expr, b: pl.Expr) -> pl.Expr:
    """Pearson's correlation from a covariance and both deviations, in [-1, 1]; null where either does not move."""
    return ratio(together, a * b).clip(-1.0, 1.0)


def ratio(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """``part / whole``, null where the whole is not above 0."""
    return pl.when(whole > 0).then(part / whole)


def _share_of_day(unit: pl.Expr, period: float) -> pl.Expr:
    return unit * (2 * math.pi / period)


_bands = ind.bollinger("close", 20, min_samples=enough(20))
_line, _log_volume, _signed = pl.col("macd_line"), pl.col("log_volume"), pl.col("traded_volume")
_hour = _share_of_day(pl.col("open_time").dt.hour() + pl.col("open_time").dt.minute() / 60, 24)
_weekday = _share_of_day((pl.col("open_time").dt.weekday() - 1).cast(pl.Float64), 7)
_same_slot = pl.sum_horizontal(*(V.shift(DAY * k) for k in range(1, 8)), ignore_nulls=False) / 7

#: Windows that several features look at, each computed once.
SHARED: dict[str, pl.Expr] = {
    **{f"sigma_{n}": sigma(R, n) for n in (16, DAY, WEEK)},
    "band_mean": _bands.middle,
    "band_sigma": _bands.sigma,
    "macd_line": ind.macd().line,
    "high_14": top(H, 14),
    "low_14": bottom(L, 14),
    "high_96": top(H, DAY),
    "low_96": bottom(L, DAY),
    "log_volume_sigma": ind.rolling_sigma("log_volume", DAY, min_samples=enough(DAY)),
    "volume_top_96": top(V, DAY),
    "sigma_0": sigma(R_0, DAY),
    "sigma_1": sigma(R_1, DAY),
    "covariance_1": covariance(R_0, R_1, DAY),
    "sigma_own": sigma(R_OWN, WEEK),
    "sigma_benchmark": sigma(R_BENCHMARK, WEEK),
    "covariance_benchmark": covariance(R_OWN, R_BENCHMARK, WEEK),
}


def shared(name: str) -> pl.Expr:
    """The column of one of SHARED. Raises ValueError for a name that is not."""
    if name not in SHARED:
        raise ValueError(f"{name!r} is no shared window: use one of {', '.join(SHARED)}")
    return pl.col(name)


RETURNS = [Feature(f"lr_{n}", "return", n + 1, f"log return over {n} bars", lr(n)) for n in (1, 4, 16, DAY, WEEK)]

VOLATILITY = [
    *(
        Feature(f"rv_{n}", "volatility", n + 1, f"deviation of 1-bar log returns over {n} bars, per day",
                shared(f"sigma_{n}") * _DAILY)
        for n in (16, DAY, WEEK)
    ),
    Feature("rv_96_to_672", "volatility", 673, "rv_96 / rv_672", ratio(shared("sigma_96"), shared("sigma_672"))),
    Feature("parkinson_96", "volatility", 97, "Parkinson's volatility from high and low over 96 bars, per day",
            (mean((H / L).log().pow(2), DAY) / (4 * math.log(2))).sqrt() * _DAILY),
    Feature("bollinger_width", "volatility", 20, "4 sigma / mean of 20 closes",
            ratio(4 * shared("band_sigma"), shared("band_mean"))),
    Feature("bollinger_z", "volatility", 20, "(close - mean) / sigma of 20 closes",
            ratio(C - shared("band_mean"), shared("band_sigma"))),
    Feature("atr_14", "volatility", WARM_WILDER, "ATR 14 / close", warm(WARM_WILDER, ATR / C)),
]  # fmt: skip

TREND = [
    Feature("ema_20", "trend", WARM_EMA20, "close / EMA 20 - 1", warm(WARM_EMA20, C / ind.ema("close", 20) - 1)),
    Feature("ema_96", "trend", WARM_EMA96, "close / EMA 96 - 1", warm(WARM_EMA96, C / ind.ema("close", 96) - 1)),
    Feature("macd", "trend", WARM_WILDER, "(MACD 12 26 - signal 9) / ATR 14",
            warm(WARM_WILDER, ratio(_line - ind.ema(_line, 9), ATR))),
    Feature("rsi_14", "trend", WARM_WILDER, "Wilder's RSI, 0 to 100", warm(WARM_WILDER, RSI)),
    Feature("rsi_14_change_4", "trend", WARM_WILDER + 4, "RSI minus that of 4 bars before",
            warm(WARM_WILDER, RSI) - warm(WARM_WILDER, RSI).shift(4)),
    Feature("adx_14", "trend", WARM_WILDER, "Wilder's ADX, 0 to 100", warm(WARM_WILDER, ind.adx_of(pl.col("move")))),
    Feature("slope_96", "trend", DAY, "OLS slope of the log close over 96 bars, per bar",
            ind.ols("y", DAY, min_samples=enough(DAY)).slope),
    Feature("stochastic_14", "trend", 14, "fast %K 14, 0 to 100",
            ratio(100 * (C - shared("low_14")), shared("high_14") - shared("low_14"))),
]  # fmt: skip

LOCATION = [
    Feature("from_high_16", "location", 16, "close / highest high of 16 bars - 1", C / top(H, 16) - 1),
    Feature("from_high_96", "location", 96, "close / highest high of 96 bars - 1", C / shared("high_96") - 1),
    Feature("from_low_96", "location", 96, "close / lowest low of 96 bars - 1", C / shared("low_96") - 1),
    Feature("donchian_96", "location", 96, "place of the close between low and high of 96 bars, 0 to 1",
            ratio(C - shared("low_96"), shared("high_96") - shared("low_96"))),
    Feature("breakout_80", "location", 81, "close / highest high of the 80 bars before - 1",
            C / top(H.shift(1), 80) - 1),
]  # fmt: skip

VOLUME = [
    Feature("volume_z_96", "volume", 96, "z of ln(1 + volume) over 96 bars",
            ratio(_log_volume - mean(_log_volume, DAY), shared("log_volume_sigma"))),
    Feature("volume_16_to_96", "volume", 96, "mean volume of 16 bars / of 96 bars",
            pl.when(shared("volume_top_96") > 0).then(mean(V, 16) / mean(V, DAY))),
    Feature("volume_to_slot", "volume", 673, "volume / its mean in the same quarter of an hour of the last 7 days",
            ratio(V, _same_slot)),
    Feature("signed_volume_16", "volume", 17, "volume of rising minus falling bars / volume, 16 bars, -1 to 1",
            pl.when(top(_signed, 16) > 0).then(mean(R.sign() * _signed, 16) / mean(_signed, 16))),
    Feature("dollar_volume_96", "volume", 96, "ln of the mean dollar volume of 96 bars",
            pl.when(shared("volume_top_96") > 0).then(mean(DOLLAR, DAY).log())),
]  # fmt: skip

SHAPE = [
    Feature("body", "shape", 1, "(close - open) / (high - low)", (C - O) / RANGE),
    Feature("upper_wick", "shape", 1, "high above the body / (high - low)", (H - pl.max_horizontal(O, C)) / RANGE),
    Feature("lower_wick", "shape", 1, "low below the body / (high - low)", (pl.min_horizontal(O, C) - L) / RANGE),
    # Bars without trades have no price impact; half of the bars must have traded.
    Feature("amihud_96", "shape", 97, "ln of the mean of |return| / dollar volume over traded bars of 96",
            pl.when(shared("sigma_96") > 0).then(pl.col("impact").rolling_mean(DAY, min_samples=DAY // 2).log())),
    Feature("autocorrelation_96", "shape", 98, "correlation of 1-bar returns with those a bar before, 96 bars",
            correlation(shared("covariance_1"), shared("sigma_0"), shared("sigma_1"))),
]  # fmt: skip

TIME = [
    Feature("hour_sin", "time", 1, "sine of the hour of the open, UTC", _hour.sin()),
    Feature("hour_cos", "time", 1, "cosine of the hour of the open, UTC", _hour.cos()),
    Feature("weekday_sin", "time", 1, "sine of the weekday of the open, Monday 0", _weekday.sin()),
    Feature("weekday_cos", "time", 1, "cosine of the weekday of the open, Monday 0", _weekday.cos()),
]

BAR_FEATURES = [*RETURNS, *VOLATILITY, *TREND, *LOCATION, *VOLUME, *SHAPE, *TIME]

#: Whether a row may be used at all: at most 5 % of its last 96 bars are missing.
ELIGIBLE = (pl.col("there").rolling_sum(DAY, min_samples=1) >= enough(DAY)) & (pl.col("there") == 1)
