"""The same rows as ours with pandas and TA-Lib, one instrument at a time, with gaps, warm-ups and constant prices.

What a careful person would write without us: everything vectorised, TA-Lib wherever it fits, shared windows computed
once, and what belongs to the benchmark alone computed once for all (`benchmark`). Rank, breadth and the regimes, which
are of the market and not of an instrument, are left out here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import talib

DAY, WEEK = 96, 672
WIDTHS = {"1h": "1h", "4h": "4h", "1d": "1D"}


def enough(n: int) -> int:
    """Least number of bars in a window of n: at most 5 % may be absent."""
    return n - int(n * 0.05)


def on_grid(bars: pd.DataFrame, width: str, grid: pd.DatetimeIndex | None = None) -> pd.DataFrame:
    """Bars by open time with a row of NaN for every one that is absent."""
    if grid is None:
        grid = pd.date_range(bars.index[0], bars.index[-1], freq=width, tz="UTC")
    return bars.reindex(grid)


def benchmark(bars: pd.DataFrame, grid: pd.DatetimeIndex) -> pd.DataFrame:
    """The benchmark series with which every instrument is compared, computed once."""
    y = np.log(on_grid(bars, "15min", grid)["close"])
    r = y.diff()
    lr = {f"lr_{n}": y - y.shift(n) for n in (4, DAY, WEEK)}
    return pd.DataFrame({"r": r, **lr, "rv_96": r.rolling(DAY, min_periods=enough(DAY)).std() * np.sqrt(DAY)})


def features(raw: pd.DataFrame, wider: dict[str, pd.DataFrame], common: pd.DataFrame) -> pd.DataFrame:
    """All features of one instrument, a row for every bar that is there; `common` is `benchmark` on the same grid."""
    bars = on_grid(raw, "15min", common.index)
    o, h, low, c, v = (bars[name] for name in ("open", "high", "low", "close", "volume"))
    there = c.notna()
    warm = {n: there.rolling(n, min_periods=1).sum() >= enough(n) for n in (DAY, 200, 300, 800)}
    y, log_volume = np.log(c), np.log1p(v)
    r = y.diff()
    dollar, span = c * v, (h - low).where(h > low)
    sigma = {n: r.rolling(n, min_periods=enough(n)).std() for n in (16, DAY, WEEK)}
    lr = {n: y - y.shift(n) for n in (1, 4, 16, DAY, WEEK)}
    high = {n: h.rolling(n, min_periods=enough(n)).max() for n in (14, 16, 80, DAY)}
    bottom = {n: low.rolling(n, min_periods=enough(n)).min() for n in (14, DAY)}
    mean_v = {n: _mean(v, n) for n in (16, DAY)}
    close20 = c.rolling(20, min_periods=enough(20))
    middle, band = close20.mean().where(there), close20.std(ddof=0).where(there)

    # TA-Lib knows no holes: absent bars are cut out and put back.
    kept = there.to_numpy()
    ch, cl, cc = (series.to_numpy()[kept] for series in (h, low, c))

    def back(values: np.ndarray) -> pd.Series:
        laid = np.full(len(kept), np.nan)
        laid[kept] = values
        return pd.Series(laid, index=bars.index)

    atr = back(talib.ATR(ch, cl, cc, 14))
    rsi = back(talib.RSI(cc, 14)).where(back(np.cumsum(np.abs(np.diff(cc, prepend=cc[0])))) > 0).where(warm[300])
    macd, signal, _ = talib.MACD(cc, 12, 26, 9)
    log_v = log_volume.rolling(DAY, min_periods=enough(DAY))
    traded = v.where(r.notna())
    body = np.maximum(o, c), np.minimum(o, c)
    slot = sum(v.shift(DAY * k) for k in range(1, 8)) / 7
    impact = (r.abs() / dollar).where(v > 0)
    of_r, of_b = r.where(common["r"].notna()), common["r"].where(r.notna())
    together = of_r.rolling(WEEK, min_periods=enough(WEEK)).cov(of_b)
    week_b = of_b.rolling(WEEK, min_periods=enough(WEEK)).var()
    week_r = of_r.rolling(WEEK, min_periods=enough(WEEK)).var()
    before = r.shift(1).where(r.notna())
    lagging = r.where(before.notna())

    out: dict[str, Any] = {f"lr_{n}": value for n, value in lr.items()}
    out |= {f"rv_{n}": value * np.sqrt(DAY) for n, value in sigma.items()}
    out |= {
        "rv_96_to_672": _ratio(sigma[DAY], sigma[WEEK]),
        "parkinson_96": np.sqrt(_mean(np.log(h / low) ** 2, DAY) / (4 * np.log(2))) * np.sqrt(DAY),
        "bollinger_width": _ratio(4 * band, middle),
        "bollinger_z": _ratio(c - middle, band),
        "atr_14": (atr / c).where(warm[300]),
        "ema_20": (c / back(talib.EMA(cc, 20)) - 1).where(warm[200]),
        "ema_96": (c / back(talib.EMA(cc, 96)) - 1).where(warm[800]),
        "macd": _ratio(back(macd - signal), atr).where(warm[300]),
        "rsi_14": rsi,
        "rsi_14_change_4": rsi - rsi.shift(4),
        "adx_14": back(talib.ADX(ch, cl, cc, 14)).where(warm[300]),
        "slope_96": _slope(y, DAY),
        "stochastic_14": _ratio(100 * (c - bottom[14]), high[14] - bottom[14]),
        "from_high_16": c / high[16] - 1,
        "from_high_96": c / high[DAY] - 1,
        "from_low_96": c / bottom[DAY] - 1,
        "donchian_96": _ratio(c - bottom[DAY], high[DAY] - bottom[DAY]),
        "breakout_80": c / high[80].shift(1) - 1,
        "volume_z_96": _ratio(log_volume - log_v.mean(), log_v.std()),
        "volume_16_to_96": _ratio(mean_v[16], mean_v[DAY]),
        "volume_to_slot": _ratio(v, slot),
        "signed_volume_16": _ratio(_mean(np.sign(r) * traded, 16), _mean(traded, 16)),
        "dollar_volume_96": np.log(_mean(dollar, DAY)),
        "body": (c - o) / span,
        "upper_wick": (h - body[0]) / span,
        "lower_wick": (body[1] - low) / span,
        "amihud_96": np.log(impact.rolling(DAY, min_periods=DAY // 2).mean()).where(sigma[DAY] > 0),
        "autocorrelation_96": lagging.rolling(DAY, min_periods=enough(DAY)).corr(before).clip(-1, 1),
        "btc_lr_4": common["lr_4"],
        "btc_lr_96": common["lr_96"],
        "btc_rv_96": common["rv_96"],
        "btc_correlation_672": _ratio(together, np.sqrt(week_r * week_b)).clip(-1, 1),
        "btc_beta_672": _ratio(together, week_b),
        "relative_strength_96": lr[DAY] - common["lr_96"],
        "relative_strength_672": lr[WEEK] - common["lr_672"],
    }
    hour = 2 * np.pi * (bars.index.hour + bars.index.minute / 60) / 24
    weekday = 2 * np.pi * bars.index.weekday / 7
    out |= {"hour_sin": np.sin(hour), "hour_cos": np.cos(hour)}
    out |= {"weekday_sin": np.sin(weekday), "weekday_cos": np.cos(weekday)}
    closes = bars.index + pd.Timedelta("15min")
    for name, width in WIDTHS.items():
        if name in wider and len(wider[name]):
            values = _wider(on_grid(wider[name], width), name)
            values.index = values.index + pd.Timedelta(width)
            # the bar that had closed last when the row closed; where that one is absent nothing
            out |= {column: series.to_numpy() for column, series in values.reindex(closes.floor(width)).items()}
    found = pd.DataFrame(out, index=bars.index)
    found["eligible"] = warm[DAY] & ((v > 0).rolling(DAY, min_periods=1).sum() * 2 >= DAY)
    return found[kept].replace([np.inf, -np.inf], np.nan)


def _wider(bars: pd.DataFrame, name: str) -> pd.DataFrame:
    h, low, c = (bars[column] for column in ("high", "low", "close"))
    there = c.notna()
    if name == "1d":
        y, last = np.log(c), c.ffill().shift(1)
        reach = (np.maximum(h, last) - np.minimum(low, last)).where(last.notna())
        return pd.DataFrame(
            {"lr_7_1d": y - y.shift(7), "sma_20_1d": c / _mean(c, 20) - 1, "true_range_14_1d": _mean(reach, 14) / c}
        )
    kept = there.to_numpy()
    ch, cl, cc = (series.to_numpy()[kept] for series in (h, low, c))
    warm = (there.rolling(250, min_periods=1).sum() >= enough(250)).to_numpy()
    found = {
        f"rsi_14_{name}": talib.RSI(cc, 14),
        f"ema_20_{name}": cc / talib.EMA(cc, 20) - 1,
        f"atr_14_{name}": talib.ATR(ch, cl, cc, 14) / cc,
    }
    laid = {column: np.full(len(kept), np.nan) for column in found}
    for column, values in found.items():
        laid[column][kept] = np.where(warm[kept], values, np.nan)
    return pd.DataFrame(laid, index=bars.index)


def _slope(y: pd.Series, n: int) -> pd.Series:
    """Least squares over those of n bars that are there: sums over windows are correlations with 1, k and k²."""
    there = y.notna().to_numpy(float)
    values = (y - y.dropna().iloc[0]).fillna(0.0).to_numpy()
    k, one = np.arange(n) - (n - 1) / 2, np.ones(n)
    count, sum_k, sum_kk = (np.correlate(there, weight, "valid") for weight in (one, k, k * k))
    sum_y, sum_ky = (np.correlate(values, weight, "valid") for weight in (one, k))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (sum_ky - sum_k * sum_y / count) / (sum_kk - sum_k * sum_k / count)
    slope[(count < enough(n)) | (there[n - 1 :] == 0)] = np.nan
    return pd.Series(np.concatenate((np.full(n - 1, np.nan), slope)), index=y.index)


def _mean(x: pd.Series, n: int) -> pd.Series:
    return x.rolling(n, min_periods=enough(n)).mean()


def _ratio(part: pd.Series, whole: pd.Series) -> pd.Series:
    return (part / whole).where(whole > 0)
