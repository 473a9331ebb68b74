"""Regime and stress of the market, from the benchmark's (BTC's) bars. Null where the bars they need are missing.

Regime: BULL close > SMA 50 > SMA 200 on the last closed 4h bar, BEAR mirrored, CRASH when 24 hours lost 10 % or more,
NEUTRAL otherwise. Stress: PANIC 1h ≤ -3 % or 24h ≤ -5 %; CAUTION 1h ≤ -2 %, 4h ≤ -3 % or 24h ≤ -3 %; EUPHORIA
1h ≥ 3 % or 24h ≥ 8 %; CALM otherwise. Changes are simple returns of 15m closes.
"""

from __future__ import annotations

from enum import IntEnum

import polars as pl

from crypto_pipeline.features.bar_features import C, mean


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


def trend_4h() -> pl.Expr:
    """BULL, BEAR or NEUTRAL of every 4h bar, over its ``close`` on a gapless grid. Int8."""
    fast, slow = mean(C, 50), mean(C, 200)
    known = C.is_not_null() & slow.is_not_null() & fast.is_not_null()
    value = (
        pl.when((fast < C) & (slow < fast))
        .then(int(Regime.BULL))
        .when((fast > C) & (slow > fast))
        .then(int(Regime.BEAR))
        .otherwise(int(Regime.NEUTRAL))
    )
    return pl.when(known).then(value).cast(pl.Int8).alias("trend_4h")


def _moved(bars: int) -> pl.Expr:
    return C / C.shift(bars) - 1


def regime(trend: pl.Expr) -> pl.Expr:
    """Regime of every 15m bar, over its ``close`` and the ``trend`` of the last closed 4h bar. Int8."""
    crash = _moved(96) <= -0.10
    return pl.when(crash).then(int(Regime.CRASH)).otherwise(trend).cast(pl.Int8).alias("regime")


def stress() -> pl.Expr:
    """Stress of every 15m bar over its ``close`` on a gapless grid. Int8, null where what decides is unknown."""
    hour, four, day = _moved(4), _moved(16), _moved(96)
    known = hour.is_not_null() & four.is_not_null() & day.is_not_null()
    value = (
        pl.when((hour <= -0.03) | (day <= -0.05))
        .then(int(Stress.PANIC))
        .when((hour <= -0.02) | (four <= -0.03) | (day <= -0.03))
        .then(int(Stress.CAUTION))
        .when((hour >= 0.03) | (day >= 0.08))
        .then(int(Stress.EUPHORIA))
        .when(known)
        .then(int(Stress.CALM))
    )
    return value.cast(pl.Int8).alias("stress")
