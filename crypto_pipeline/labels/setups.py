"""Setups: signals on closed 15m bars. Indicators are those of ``features``; here are only the conditions.

Every function takes a panel and returns one row per setup, by instrument and time: ``number`` (of the instrument),
``place`` (of the signal bar) and the setup's own measures, Float64 unless said otherwise. A condition that cannot be
judged because a bar of its window is absent (NaN) is not met. Nothing later than the signal bar's close is looked at.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from crypto_pipeline.arrays.rolling import rolling_max, rolling_min
from crypto_pipeline.features.definitions import indicators, regimes
from crypto_pipeline.labels.panel import Flags, Floats, Ints, Panel
from crypto_pipeline.labels.parameters import ChannelParameters, DcaParameters, SwingParameters

#: Bars in an hour and in a day.
HOUR, DAY = 4, 96
WEEK = 7 * DAY
#: The first Monday after 1970-01-01, in bars since then.
_MONDAY = 4 * DAY


def dca(panel: Panel, halted: Flags, enterable: Flags, parameters: DcaParameters) -> pl.DataFrame:
    """A sharp fall: ``fall`` (below 0), ``volume_ratio``, ``rsi14``. Spaced: see ``spaced``.

    ``halted``: per bar, no setup where it is true; see ``halts``. ``enterable``: per instrument and bar, whether a
    setup may be there at all. Where it is false there is no candidate either: nothing else can decide about spacing.
    """
    p = parameters
    fall = _over(panel.close, rolling_max(panel.high, p.fall_window)) - 1
    volume_ratio = _over(indicators.sma(panel.volume, HOUR), indicators.sma(panel.volume, DAY))
    rsi14 = indicators.rsi(panel.close)
    met = (fall <= -p.fall) & (volume_ratio >= p.volume_ratio) & (rsi14 <= p.rsi_most) & ~halted & enterable
    rows = np.flatnonzero(met)
    numbers, places = np.divmod(rows, panel.width)
    # Instruments one after the other on one axis of weeks, too far apart to see each other.
    stride = (panel.width // WEEK + 3) * WEEK
    rows = rows[spaced(panel.begin // panel.step + places + numbers * stride, p.spacing)]
    return _found(panel, rows, {"fall": fall, "volume_ratio": volume_ratio, "rsi14": rsi14})


def swing(panel: Panel, hours: Panel | None, parameters: SwingParameters) -> pl.DataFrame:
    """A breakout with the trend: ``breakout``, ``volume_ratio``, ``rsi14``, ``macd_histogram`` (relative to the close),
    ``day_change``. ``hours`` are the same instruments' own 1h bars from the same moment on.
    """
    p, close = parameters, panel.close
    measures = {
        "breakout": _over(close, indicators.lagged(rolling_max(panel.high, p.window))) - 1,
        "volume_ratio": _over(panel.volume, indicators.sma(panel.volume, p.window)),
        "rsi14": indicators.rsi(close),
        "macd_histogram": _over(indicators.macd(close).histogram, close),
        "day_change": _over(close, indicators.lagged(close, DAY)) - 1,
    }
    met = (
        (measures["breakout"] > p.breakout)
        & (measures["volume_ratio"] >= p.volume_ratio)
        & (measures["rsi14"] >= p.rsi_least)
        & (measures["rsi14"] <= p.rsi_most)
        & (measures["macd_histogram"] > 0)
        & (measures["day_change"] <= p.day_change_most)
    )
    rows = np.flatnonzero(met)
    numbers, places = np.divmod(rows, panel.width)
    # The last hour that had closed when the signal bar closed, and no older one in its place.
    hour = (places + 1) // HOUR - 1
    trending = rising(hours.close)[numbers, hour] & (hour >= 0) if hours is not None else np.zeros(len(rows), np.bool_)
    return _found(panel, rows[trending], measures)


def rising(close: Floats) -> Flags:
    """Per hour: close > SMA 20 > SMA 50; false while an hour of them is absent."""
    fast, slow = indicators.sma(close, 20), indicators.sma(close, 50)
    uphill: Flags = (close > fast) & (fast > slow)
    return uphill


def channel(panel: Panel, cost_factors: Floats, parameters: ChannelParameters) -> pl.DataFrame:
    """The lower edge of a straight channel of closes: ``slope`` (of ln price, per bar), ``sigma``, ``width``,
    ``containment``, ``touches_upper``, ``touches_lower`` (Int64), ``position``, ``day_range``, ``reward_to_risk``, and
    the prices ``target`` and ``channel_stop``, all as at the signal bar's close.

    ``cost_factors``, per instrument, turn 1 + gross into 1 + net return.
    """
    p, close = parameters, panel.close
    y = np.log(close)
    line = indicators.ols(y, p.window)
    half = p.bands * line.sigma
    width, position = np.expm1(2 * half), _over(y - line.end + half, 2 * half)
    day_range = _over(rolling_max(panel.high, DAY), rolling_min(panel.low, DAY)) - 1
    near = (
        (width >= p.width_least)
        & (width <= p.width_most)
        & (position <= p.position_most)
        & (close > indicators.lagged(close))
        & (day_range < p.day_range_most)
    )
    rows = np.flatnonzero(near)
    measures = {"slope": line.slope, "sigma": line.sigma, "width": width, "position": position, "day_range": day_range}
    found = _found(panel, rows, measures)
    lower, band = line.end.ravel()[rows] - half.ravel()[rows], 2 * half.ravel()[rows]
    target, stop = np.exp(lower + p.target * band), np.exp(lower) * (1 - p.stop_below)
    price, factor = close.ravel()[rows], cost_factors[rows // panel.width]
    reward_to_risk = _over(target / price * factor - 1, 1 - stop / price * factor)
    found = found.with_columns(
        *_shape(panel, y, rows, line, p), target=target, channel_stop=stop, reward_to_risk=reward_to_risk
    )
    return found.filter(
        pl.Series((stop < price) & (reward_to_risk >= p.reward_to_risk))
        & (pl.col("containment") >= p.containment)
        & (pl.col("touches_upper") >= p.touches)
        & (pl.col("touches_lower") >= p.touches)
    )


def _shape(panel: Panel, y: Floats, rows: Ints, line: indicators.Line, p: ChannelParameters) -> list[pl.Series]:
    """Containment and touches of the windows that end at ``rows``.

    A close is contained that is not beyond a band. A bar touches a band when its range, from low to high, comes within
    ``touch_within`` sigma of it.
    """
    from crypto_pipeline.labels.kernels import channel_shape  # late: numba takes half a second to import

    slope, end, sigma = (column.ravel()[rows] for column in (line.slope, line.end, line.sigma))
    lines = np.column_stack((slope, end, p.bands * sigma, p.touch_within * sigma))
    high, low = np.log(panel.high).ravel(), np.log(panel.low).ravel()
    shape = np.zeros((len(rows), 3))
    channel_shape(y.ravel(), high, low, rows, lines, p.window, p.touch_apart, shape)
    return [
        pl.Series("containment", shape[:, 0]),
        pl.Series("touches_upper", shape[:, 1]).cast(pl.Int64),
        pl.Series("touches_lower", shape[:, 2]).cast(pl.Int64),
    ]


def spaced(bars: Ints, spacing: int) -> Flags:
    """Which candidates become setups, so that every setup is at least ``spacing`` bars after the setup before it.

    ``bars`` (ascending) are numbers of 15m bars since 1970. A candidate with no other in the ``spacing`` bars before it
    begins a run and is a setup; of the rest of the run each one is that comes ``spacing`` bars or more after the setup
    before it. So that the answer depends on a bounded stretch of the past (see ``reach``), a run that is older than a
    week when a week begins (Monday 00:00 UTC) is counted anew from there: the first setup of that week comes
    ``spacing`` bars or more after the last candidate of the week before.
    """
    from crypto_pipeline.labels.kernels import chain  # late: numba takes half a second to import

    chosen = np.zeros(len(bars), np.bool_)
    begins = (bars - _MONDAY) // WEEK * WEEK + _MONDAY
    chain(bars, begins, WEEK, spacing, chosen)
    return chosen


def reach(spacing: int) -> int:
    """Bars before a candidate whose candidates can decide whether it becomes a setup."""
    return 2 * WEEK + spacing


def halts(benchmark: Floats) -> Flags:
    """Per 15m close of the benchmark: the market crashes or panics, or it cannot be told; nothing is entered."""
    crash = regimes.regime_of(benchmark, np.zeros(benchmark.shape)) == regimes.Regime.CRASH
    calm = regimes.stress_of(benchmark) > regimes.Stress.PANIC
    seen = ~np.isnan(benchmark + sum(indicators.lagged(benchmark, bars) for bars in (HOUR, 4 * HOUR, DAY)))
    halted: Flags = crash | ~calm | ~seen
    return halted


def _found(panel: Panel, rows: Ints, measures: dict[str, Floats]) -> pl.DataFrame:
    numbers, places = np.divmod(rows, panel.width)
    columns = {name: values.ravel()[rows] for name, values in measures.items()}
    return pl.DataFrame({"number": numbers, "place": places, **columns})


def _over(part: Floats, whole: Floats) -> Floats:
    """``part / whole``, whatever is divided by 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: Floats = part / whole
    return quotient
