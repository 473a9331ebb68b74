"""Setups: signals on closed 15m bars. Indicators are those of ``features``; here are only the conditions.

Every function takes the bars of one instrument as ``Grid.frame()`` gives them and returns one row per setup: ``place``
(row of the signal bar) and the setup's own measures, Float64 unless said otherwise. A condition that cannot be judged
because a bar of its window is absent is not met. Nothing later than the signal bar's close is looked at.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from crypto_pipeline.features import indicators, regimes
from crypto_pipeline.labels.grid import Flags, Ints
from crypto_pipeline.labels.parameters import TIMEFRAME, ChannelParameters, DcaParameters, SwingParameters
from crypto_pipeline.market.bars import UTC_MS

#: Bars in an hour and in a day.
HOUR, DAY = 4, 96
#: A chain of spaced setups is followed from so many bars before the day of the signal on.
CHAIN = 7 * DAY
NO_HOURS = pl.DataFrame(schema={"open_time": UTC_MS, "close": pl.Float64})


def dca(bars: pl.DataFrame, stress: pl.DataFrame, parameters: DcaParameters) -> pl.DataFrame:
    """A sharp fall: ``fall`` (below 0), ``volume_ratio``, ``rsi14``. Spaced: see ``spaced``.

    ``stress`` has ``open_time`` and ``halted`` (Boolean): no setup where that is true, null or absent.
    """
    p = parameters
    measured = bars.with_row_index("place").select(
        pl.col("place").cast(pl.Int64),
        pl.col("open_time"),
        (pl.col("close") / pl.col("high").rolling_max(p.fall_window) - 1).alias("fall"),
        (indicators.sma("volume", HOUR) / indicators.sma("volume", DAY)).alias("volume_ratio"),
        indicators.rsi().alias("rsi14"),
    )
    met = measured.filter(
        (pl.col("fall") <= -p.fall) & (pl.col("volume_ratio") >= p.volume_ratio) & (pl.col("rsi14") <= p.rsi_most)
    )
    calm = met.join(stress, on="open_time", how="left", maintain_order="left").filter(~pl.col("halted"))
    chosen = spaced(calm["open_time"].to_physical().to_numpy() // TIMEFRAME.milliseconds, p.spacing)
    return calm.filter(pl.Series(chosen, dtype=pl.Boolean)).drop("open_time", "halted")


def swing(bars: pl.DataFrame, hours: pl.DataFrame, parameters: SwingParameters) -> pl.DataFrame:
    """A breakout with the trend: ``breakout``, ``volume_ratio``, ``rsi14``, ``macd_histogram`` (relative to the close),
    ``day_change``. ``hours`` are the instrument's own 1h bars (``open_time``, ``close``), as many as there are.
    """
    p = parameters
    close = pl.col("close")
    measured = bars.with_row_index("place").select(
        pl.col("place").cast(pl.Int64),
        pl.col("open_time"),
        (close / pl.col("high").shift(1).rolling_max(p.window) - 1).alias("breakout"),
        (pl.col("volume") / indicators.sma("volume", p.window)).alias("volume_ratio"),
        indicators.rsi().alias("rsi14"),
        (indicators.macd().histogram / close).alias("macd_histogram"),
        (close / close.shift(DAY) - 1).alias("day_change"),
    )
    met = measured.filter(
        (pl.col("breakout") > p.breakout)
        & (pl.col("volume_ratio") >= p.volume_ratio)
        & pl.col("rsi14").is_between(p.rsi_least, p.rsi_most)
        & (pl.col("macd_histogram") > 0)
        & (pl.col("day_change") <= p.day_change_most)
    )
    # The last hour that had closed when the signal bar closed, and no older one in its place.
    closed = (pl.col("open_time") + TIMEFRAME.delta).dt.truncate("1h") - timedelta(hours=1)
    rising = met.with_columns(closed.alias("hour")).join(
        _rising(hours), left_on="hour", right_on="open_time", how="left", maintain_order="left"
    )
    return rising.filter(pl.col("rising")).drop("open_time", "hour", "rising")


def _rising(hours: pl.DataFrame) -> pl.DataFrame:
    """``open_time`` and ``rising``: close > SMA20 > SMA50 on hourly bars, null while an hour of them is absent."""
    if hours.is_empty():
        return pl.DataFrame(schema={"open_time": UTC_MS, "rising": pl.Boolean})
    opens = pl.datetime_range(pl.col("open_time").min(), pl.col("open_time").max(), "1h").alias("open_time")
    dense = hours.select(opens).join(hours, on="open_time", how="left", maintain_order="left")
    fast, slow = indicators.sma("close", 20), indicators.sma("close", 50)
    return dense.select("open_time", ((pl.col("close") > fast) & (fast > slow)).alias("rising"))


def channel(bars: pl.DataFrame, cost_factor: float, parameters: ChannelParameters) -> pl.DataFrame:
    """The lower edge of a straight channel of closes: ``slope`` (of ln price, per bar), ``sigma``, ``width``,
    ``containment``, ``touches_upper``, ``touches_lower`` (Int64), ``position``, ``day_range``, ``reward_to_risk``, and
    the prices ``target`` and ``channel_stop``, all as at the signal bar's close.

    ``cost_factor`` turns 1 + gross into 1 + net return.
    """
    p = parameters
    close = pl.col("close")
    fitted = bars.with_row_index("place").select(
        pl.col("place").cast(pl.Int64),
        close.alias("close"),
        close.log().alias("y"),
        pl.col("high").log().alias("log_high"),
        pl.col("low").log().alias("log_low"),
        (close > close.shift(1)).alias("up"),
        (pl.col("high").rolling_max(DAY) / pl.col("low").rolling_min(DAY) - 1).alias("day_range"),
    )
    line = indicators.ols("y", p.window)
    fitted = fitted.with_columns(line.slope.alias("slope"), line.end.alias("end"), line.sigma.alias("sigma"))
    half = p.bands * pl.col("sigma")
    near = fitted.with_columns(
        ((2 * half).exp() - 1).alias("width"), ((pl.col("y") - pl.col("end") + half) / (2 * half)).alias("position")
    ).filter(
        pl.col("width").is_between(p.width_least, p.width_most)
        & (pl.col("position") <= p.position_most)
        & pl.col("up")
        & (pl.col("day_range") < p.day_range_most)
    )
    near = near.with_columns(_prices(p)).filter(pl.col("channel_stop") < close)
    reward = pl.col("target") / close * cost_factor - 1
    risk = 1 - pl.col("channel_stop") / close * cost_factor
    near = near.with_columns((reward / risk).alias("reward_to_risk")).filter(
        pl.col("reward_to_risk") >= p.reward_to_risk
    )
    shaped = near.with_columns(_shape(fitted, near, p))
    return shaped.filter(
        (pl.col("containment") >= p.containment)
        & (pl.col("touches_upper") >= p.touches)
        & (pl.col("touches_lower") >= p.touches)
    ).drop("close", "y", "log_high", "log_low", "up", "end")


def _prices(p: ChannelParameters) -> list[pl.Expr]:
    half = p.bands * pl.col("sigma")
    lower = pl.col("end") - half
    return [
        (lower + p.target * 2 * half).exp().alias("target"),
        (lower.exp() * (1 - p.stop_below)).alias("channel_stop"),
    ]


def _shape(fitted: pl.DataFrame, near: pl.DataFrame, p: ChannelParameters) -> list[pl.Series]:
    """Containment and touches of each row of ``near`` over its window.

    A close is contained that is not beyond a band. A bar touches a band when its range, from low to high, comes within
    ``touch_within`` sigma of it.
    """
    from crypto_pipeline.labels.kernels import channel_shape  # late: numba takes half a second to import

    slope, end, sigma = (near[name].to_numpy() for name in ("slope", "end", "sigma"))
    lines = np.column_stack((slope, end, p.bands * sigma, p.touch_within * sigma))
    close, high, low = (fitted[name].fill_null(np.nan).to_numpy().copy() for name in ("y", "log_high", "log_low"))
    shape = np.zeros((near.height, 3))
    channel_shape(close, high, low, near["place"].to_numpy().copy(), lines, p.window, p.touch_apart, shape)
    return [
        pl.Series("containment", shape[:, 0]),
        pl.Series("touches_upper", shape[:, 1]).cast(pl.Int64),
        pl.Series("touches_lower", shape[:, 2]).cast(pl.Int64),
    ]


def spaced(bars: Ints, spacing: int) -> Flags:
    """Which candidates become setups when each is at least ``spacing`` bars after the setup before it.

    ``bars`` (ascending) are numbers of 15m bars since 1970. For every UTC day the chain is followed from CHAIN bars
    before its midnight on, so that the answer depends on a bounded stretch of the past and not on where the frame
    begins. A pause of ``spacing`` bars without a candidate makes all chains one; without any in a week two setups may
    come closer at midnight.
    """
    from crypto_pipeline.labels.kernels import chain  # late: numba takes half a second to import

    chosen = np.zeros(len(bars), np.bool_)
    days = bars // DAY
    chain(bars, days, np.searchsorted(bars, days * DAY - CHAIN), spacing, chosen)
    return chosen


def stress(benchmark: pl.DataFrame) -> pl.DataFrame:
    """``open_time`` and ``halted`` (null where it cannot be told): the market crashes or panics, nothing is entered."""
    crash = regimes.regime(pl.lit(int(regimes.Regime.NEUTRAL))) == int(regimes.Regime.CRASH)
    panic = regimes.stress() == int(regimes.Stress.PANIC)
    return benchmark.select("open_time", (crash | panic).alias("halted"))
