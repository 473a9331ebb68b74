"""Regime and stress of the market, from the benchmark's (BTC's) closes on a gapless grid (last axis time, NaN: absent).

Regime: BULL close > SMA 50 > SMA 200 on the last closed 4h bar, BEAR mirrored, CRASH when 24 hours lost 10 % or more,
NEUTRAL otherwise. Stress: PANIC 1h ≤ -3 % or 24h ≤ -5 %; CAUTION 1h ≤ -2 %, 4h ≤ -3 % or 24h ≤ -3 %; EUPHORIA
1h ≥ 3 % or 24h ≥ 8 %; CALM otherwise. Changes are simple returns of 15m closes. Every function gives the numbers as
Float64, NaN where the bars they need are missing.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from crypto_pipeline.arrays.arithmetic import lagged
from crypto_pipeline.arrays.rolling import Floats, rolling_mean
from crypto_pipeline.features.definitions.feature import enough


class Regime(IntEnum):
    """Direction of the market; the number is what is stored."""

    CRASH = -2
    BEAR = -1
    NEUTRAL = 0
    BULL = 1


class Stress(IntEnum):
    """How violently it moves; the number is what is stored."""

    PANIC = -2
    CAUTION = -1
    CALM = 0
    EUPHORIA = 1


def trend_of(close: Floats) -> Floats:
    """BULL, BEAR or NEUTRAL of every 4h bar, from its ``close``."""
    fast, slow = rolling_mean(close, 50, enough(50)), rolling_mean(close, 200, enough(200))
    bull, bear = (fast < close) & (slow < fast), (fast > close) & (slow > fast)
    value = np.where(bull, float(Regime.BULL), np.where(bear, float(Regime.BEAR), float(Regime.NEUTRAL)))
    return np.where(np.isnan(close + fast + slow), np.nan, value)


def regime_of(close: Floats, trend: Floats) -> Floats:
    """Regime of every 15m bar, from its ``close`` and the ``trend`` of the last closed 4h bar."""
    return np.where(_change(close, 96) <= -0.10, float(Regime.CRASH), trend)


def stress_of(close: Floats) -> Floats:
    """Stress of every 15m bar, from its ``close``."""
    hour, four, day = _change(close, 4), _change(close, 16), _change(close, 96)
    all_there = ~np.isnan(hour + four + day)
    value = np.where(all_there, float(Stress.CALM), np.nan)
    value[(hour >= 0.03) | (day >= 0.08)] = float(Stress.EUPHORIA)
    value[(hour <= -0.02) | (four <= -0.03) | (day <= -0.03)] = float(Stress.CAUTION)
    value[(hour <= -0.03) | (day <= -0.05)] = float(Stress.PANIC)
    return value


def _change(close: Floats, bars: int) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return close / lagged(close, bars) - 1
