"""The same features with pandas and TA-Lib, one instrument at a time, as a reference implementation without this
project.

Vectorised throughout; rank and breadth, which need all instruments, are left out (they are cheap). The wider bars come
rolled up already, as for us.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import talib

DAY, WEEK = 96, 672


def features(bars: pd.DataFrame, wider: dict[str, pd.DataFrame], benchmark: pd.DataFrame) -> pd.DataFrame:
    """All features of one instrument; frames are indexed by open time."""
    o, h, low, c, v = (bars[name] for name in ("open", "high", "low", "close", "volume"))
    y, b = np.log(c), np.log(benchmark["close"])
    r, br = y.diff(), b.diff()
    dollar, span = c * v, (h - low).replace(0, np.nan)
    atr, rsi = _of(talib.ATR(h, low, c, 14), c), _of(talib.RSI(c, 14), c)
    macd, signal, _ = talib.MACD(c, 12, 26, 9)
    upper, middle, lower = talib.BBANDS(c, 20, 2.0, 2.0)
    sigma = (upper - lower) / 4
    high96, low96 = h.rolling(DAY).max(), low.rolling(DAY).min()
    logv = np.log1p(v)
    rv = {n: r.rolling(n).std() * np.sqrt(DAY) for n in (16, DAY, WEEK)}
    lr = {n: y - y.shift(n) for n in (1, 4, 16, DAY, WEEK)}
    body = np.maximum(o, c), np.minimum(o, c)
    hour = 2 * np.pi * (bars.index.hour + bars.index.minute / 60) / 24
    weekday = 2 * np.pi * bars.index.weekday / 7
    out: dict[str, Any] = {f"lr_{n}": value for n, value in lr.items()}
    out |= {f"rv_{n}": value for n, value in rv.items()}
    out |= {
        "rv_96_to_672": rv[DAY] / rv[WEEK],
        "parkinson_96": np.sqrt((np.log(h / low) ** 2).rolling(DAY).mean() / (4 * np.log(2))) * np.sqrt(DAY),
        "bollinger_width": 4 * sigma / middle,
        "bollinger_z": (c - middle) / sigma,
        "atr_14": atr / c,
        "ema_20": c / talib.EMA(c, 20) - 1,
        "ema_96": c / talib.EMA(c, 96) - 1,
        "macd": (macd - signal) / atr,
        "rsi_14": rsi,
        "rsi_14_change_4": rsi - rsi.shift(4),
        "adx_14": talib.ADX(h, low, c, 14),
        "slope_96": talib.LINEARREG_SLOPE(y, DAY),
        "stochastic_14": talib.STOCHF(h, low, c, 14, 1)[0],
        "from_high_16": c / h.rolling(16).max() - 1,
        "from_high_96": c / high96 - 1,
        "from_low_96": c / low96 - 1,
        "donchian_96": (c - low96) / (high96 - low96),
        "breakout_80": c / h.shift(1).rolling(80).max() - 1,
        "volume_z_96": (logv - logv.rolling(DAY).mean()) / logv.rolling(DAY).std(),
        "volume_16_to_96": v.rolling(16).mean() / v.rolling(DAY).mean(),
        "volume_to_slot": v / (sum(v.shift(DAY * k) for k in range(1, 8)) / 7),
        "signed_volume_16": (np.sign(r) * v).rolling(16).sum() / v.rolling(16).sum(),
        "dollar_volume_96": np.log(dollar.rolling(DAY).mean()),
        "body": (c - o) / span,
        "upper_wick": (h - body[0]) / span,
        "lower_wick": (body[1] - low) / span,
        "amihud_96": np.log((r.abs() / dollar).rolling(DAY).mean()),
        "autocorrelation_96": r.rolling(DAY).corr(r.shift(1)),
        "btc_lr_4": b - b.shift(4),
        "btc_lr_96": b - b.shift(DAY),
        "btc_rv_96": br.rolling(DAY).std() * np.sqrt(DAY),
        "btc_correlation_672": r.rolling(WEEK).corr(br),
        "btc_beta_672": r.rolling(WEEK).cov(br) / br.rolling(WEEK).var(),
        "relative_strength_96": lr[DAY] - (b - b.shift(DAY)),
        "relative_strength_672": lr[WEEK] - (b - b.shift(WEEK)),
        "hour_sin": np.sin(hour),
        "hour_cos": np.cos(hour),
        "weekday_sin": np.sin(weekday),
        "weekday_cos": np.cos(weekday),
    }
    found = pd.DataFrame(out, index=bars.index)
    closes = found.index + pd.Timedelta("15min")
    for name, width in (("1h", "1h"), ("4h", "4h"), ("1d", "1D")):
        values = _wider(wider[name], name)
        values.index = values.index + pd.Timedelta(width)
        joined = values.reindex(closes, method="ffill")
        joined.index = found.index
        found = found.join(joined)
    return found


def _wider(bars: pd.DataFrame, name: str) -> pd.DataFrame:
    h, low, c = (bars[column] for column in ("high", "low", "close"))
    if name == "1d":
        y = np.log(c)
        return pd.DataFrame(
            {
                "lr_7_1d": y - y.shift(7),
                "sma_20_1d": c / c.rolling(20).mean() - 1,
                "true_range_14_1d": _of(talib.TRANGE(h, low, c), c).rolling(14).mean() / c,
            }
        )
    return pd.DataFrame(
        {
            f"rsi_14_{name}": talib.RSI(c, 14),
            f"ema_20_{name}": c / talib.EMA(c, 20) - 1,
            f"atr_14_{name}": talib.ATR(h, low, c, 14) / c,
        },
        index=bars.index,
    )


def _of(values: Any, like: pd.Series) -> pd.Series:
    return pd.Series(np.asarray(values), index=like.index)
