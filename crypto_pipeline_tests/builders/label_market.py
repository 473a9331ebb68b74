"""A generated market for labels: jumps, quiet hours, trends and channels, so that every strategy finds setups."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from crypto_pipeline.market import Instrument, Timeframe, roll_up_all
from crypto_pipeline.market.instruments import Tier
from crypto_pipeline.store import Store

START = datetime(2025, 6, 2, tzinfo=UTC)
TIERS = {"BTC-USDT": Tier.LARGE, "ETH-USDT": Tier.LARGE, "ARB-USDT": Tier.MID, "PEPE-USDT": Tier.MEME}


def minutes(symbol: str, days: int, seed: int, start: datetime = START, price: float = 100.0) -> pl.DataFrame:
    """1m bars of ``days`` days as the writer takes them; another seed gives another market."""
    rng = np.random.default_rng(seed)
    count = days * 1440
    calm = np.exp(np.repeat(np.cumsum(rng.normal(0, 0.35, days * 4)) * 0.4, 360))
    moves = rng.standard_t(3, count) * 0.0009 * np.clip(calm, 0.3, 3)
    wave = (
        0.018 * np.sin(np.arange(count) / 1440 * 2 * np.pi * rng.uniform(3, 6)) * (np.sin(np.arange(count) / 8000) > 0)
    )
    close = np.round(price * np.exp(np.cumsum(moves) + wave), 5)
    opened = np.concatenate(([price], close[:-1])) * (1 + rng.normal(0, 0.0002, count))
    high = np.maximum(opened, close) * (1 + np.abs(rng.normal(0, 0.0005, count)))
    low = np.minimum(opened, close) * (1 - np.abs(rng.normal(0, 0.0005, count)))
    volume = rng.exponential(1.0, count) * (1 + 400 * np.abs(moves)) + 0.01
    times = pl.datetime_range(start, start + timedelta(days=days), "1m", closed="left", time_unit="ms", eager=True)
    columns = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
    return pl.DataFrame(
        {"instrument": [symbol] * count, "open_time": times, **columns, "quote_volume": volume * close}
    ).with_columns(
        pl.lit(None, pl.Float64).alias("taker_buy_volume"),
        pl.lit(5, pl.Int64).alias("trade_count"),
        pl.lit("venue_historical").alias("source"),
        pl.lit(True).alias("complete"),
        (pl.col("open_time") + timedelta(hours=1)).alias("revision"),
    )


def store_market(store: Store, days: int, start: datetime = START, seed: int = 0) -> pl.DataFrame:
    """Generated bars of TIERS in the store, in 1m, 15m and 1h; returns the minutes."""
    store.instruments.add([Instrument.crypto(symbol, tier) for symbol, tier in TIERS.items()])
    parts = [minutes(symbol, days, seed + number, start) for number, symbol in enumerate(sorted(TIERS))]
    bars = pl.concat(parts)
    write(store, bars)
    return bars


def write(store: Store, bars: pl.DataFrame) -> None:
    """1m bars and their roll-ups to 15m and 1h."""
    store.bars.write(bars, Timeframe.M1)
    for timeframe, rolled in roll_up_all(bars).items():
        if timeframe in (Timeframe.M15, Timeframe.H1):
            store.bars.write(rolled, timeframe)
