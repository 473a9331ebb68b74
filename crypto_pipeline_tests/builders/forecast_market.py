"""Stored hourly and daily bars of random walks, or of recorded prices, for forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.market.bars import as_bars
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

#: A Thursday, so that weeks end in between.
NOW = datetime(2026, 3, 5, 12, 5, tzinfo=UTC)


def random_walk(bars: int, seed: int = 0, step: float = 0.01, drift: float = 0.0) -> npt.NDArray[np.float64]:
    """Prices around 100."""
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(drift, step, bars)))


def bars_of(name: str, closes: npt.NDArray[np.float64], timeframe: Timeframe, end: datetime) -> pl.DataFrame:
    """Bars that close at these prices, the last one at ``end``; no bar where the price is NaN."""
    first = end - len(closes) * timeframe.delta
    rows = [
        (first + number * timeframe.delta, price, price, price, price, 1.0, "venue_historical", True, end)
        for number, price in enumerate(closes.tolist())
        if price == price
    ]
    names = ["open_time", "open", "high", "low", "close", "volume", "source", "complete", "revision"]
    frame = pl.DataFrame(rows, schema=names, orient="row").with_columns(instrument=pl.lit(name))
    return as_bars(frame)


def store_closes(
    store: Store, closes: Mapping[str, npt.NDArray[np.float64]], timeframe: Timeframe, end: datetime
) -> None:
    """Collect these instruments and store their bars; the market's clock says ``end``."""
    store.instruments.add([Instrument.crypto(name) for name in closes])
    store.clock.learn("replay", end, 1.0)
    for name, prices in closes.items():
        store.bars.write(bars_of(name, prices, timeframe, timeframe.floor(end)), timeframe)


def store_market(store: Store, names: tuple[str, ...] = ("BTC-USDT", "DOGE-USDT"), now: datetime = NOW) -> None:
    """Forty days of hours and 200 days of days of random walks, up to ``now``."""
    hours = {name: random_walk(960, seed) for seed, name in enumerate(names)}
    days = {name: random_walk(200, seed + 50, 0.03) for seed, name in enumerate(names)}
    store_closes(store, hours, Timeframe.H1, now)
    store_closes(store, days, Timeframe.D1, now)
    store_closes(store, {name: random_walk(3, 7, 0.001) for name in names}, Timeframe.M1, now)


def later(store: Store, by: timedelta, at: datetime = NOW) -> datetime:
    """Let the market's clock say so much later."""
    store.clock.learn("replay", at + by, 1.0)
    return at + by
