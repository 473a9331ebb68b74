"""A generated market of 1m bars, for a store (rolled up by the code of production) and for functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from crypto_pipeline.features.compute import Bars
from crypto_pipeline.healing.passes import StorePass
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.healing.reports import Counts, silent
from crypto_pipeline.healing.rollup import roll_up_span
from crypto_pipeline.market import Instrument, Timeframe, roll_up_all
from crypto_pipeline.market.bars import UTC_MS, as_bars
from crypto_pipeline.store import Store

NAMES = ("BTC-USDT", "ADA-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT")
START = datetime(2026, 1, 1, tzinfo=UTC)
LADDER = [Timeframe.M1, Timeframe.M5, Timeframe.M15, Timeframe.M30, Timeframe.H1, Timeframe.H4, Timeframe.D1]


def minutes(
    names: Sequence[str] = NAMES, days: float = 20, *, seed: int = 1, start: datetime = START, quiet: float = 0.02
) -> pl.DataFrame:
    """1m bars in BAR_SCHEMA whose returns move together; a share of ``quiet`` minutes is flat and without volume."""
    rng = np.random.default_rng(seed)
    count = int(days * 1440)
    common = rng.normal(0, 4e-4, count)
    parts = []
    for number, name in enumerate(names):
        silent_minutes = rng.random(count) < quiet
        returns = np.where(silent_minutes, 0.0, 0.7 * common + rng.normal(0, 6e-4, count))
        close = (50.0 + 10 * number) * np.exp(np.cumsum(returns))
        open_ = np.r_[close[0], close[:-1]]
        spread = np.where(silent_minutes, 0.0, np.abs(rng.normal(0, 3e-4, (2, count))))
        volume = np.where(silent_minutes, 0.0, rng.lognormal(2, 1, count).round(4))
        opens = int(start.timestamp() * 1000) + 60_000 * np.arange(count)
        parts.append(
            pl.DataFrame(
                {
                    "instrument": [name] * count,
                    "open_time": pl.Series(opens).cast(UTC_MS),
                    "open": np.where(silent_minutes, close, open_),
                    "high": np.maximum(open_, close) * (1 + spread[0]),
                    "low": np.minimum(open_, close) * (1 - spread[1]),
                    "close": close,
                    "volume": volume,
                    "quote_volume": volume * close,
                    "taker_buy_volume": volume / 2,
                    "trade_count": pl.Series(np.where(silent_minutes, 0, 5)),
                    "source": ["venue_historical"] * count,
                    "complete": [True] * count,
                    "revision": pl.Series(opens + 60_000).cast(UTC_MS),
                }
            )
        )
    return as_bars(pl.concat(parts))


def bars_of(minute_bars: pl.DataFrame) -> Bars:
    """Whole windows of 15m, 1h, 4h and 1d."""
    plain = minute_bars.select("instrument", "open_time", "open", "high", "low", "close", "volume")
    return roll_up_all(plain.sort("instrument", "open_time"), (Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1))


def stock(store: Store, minute_bars: pl.DataFrame) -> None:
    """Put minutes into a store and roll them up."""
    names = minute_bars["instrument"].unique().sort().to_list()
    store.instruments.add([Instrument.crypto(name) for name in names])
    store.bars.write(minute_bars, Timeframe.M1)
    rolled_up(store, minute_bars)


def rolled_up(store: Store, minute_bars: pl.DataFrame) -> None:
    """Bring every wider timeframe up to date where the minutes of the frame's span changed."""
    begin, last = minute_bars["open_time"].min(), minute_bars["open_time"].max()
    assert isinstance(begin, datetime)
    assert isinstance(last, datetime)
    end = last + timedelta(minutes=1)
    instruments = pl.DataFrame({"instrument": minute_bars["instrument"].unique().sort()})
    horizon = Horizon(Timeframe.D1.floor(begin), end, timedelta(0))
    work = StorePass(store=store, horizon=horizon, instruments=instruments)
    for timeframe in LADDER[1:]:
        roll_up_span(work, timeframe, Timeframe.D1.floor(begin), end, Counts(), silent)
