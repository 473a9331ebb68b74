"""Recorded bars of real exchanges, as the venue returned them: with holes and quiet minutes."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache

import polars as pl

from crypto_pipeline.features.compute import Bars
from crypto_pipeline.market import Timeframe, roll_up_all
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline_tests.builders.places import recorded_folder

#: 1m bars with quiet minutes, with an outage, with absent quiet minutes; 15m bars.
NAMES = (
    "binance_spot/ALGO_BTC-1m-2023-04",
    "binance_spot/BTC_USDT-1m-2021-04",
    "bitfinex/NEOUSD-1m-2019Q1",
    "kraken/BTCUSDC-1m-2023Q1",
    "binance_spot/ETH_USDT-15m-2023-04",
)


@lru_cache(maxsize=16)
def recorded_bars(name: str, rows: int | None = None) -> pl.DataFrame:
    """The first ``rows`` bars called ``name`` (path below ``bars/`` without ending), by ``open_time``."""
    bars = pl.read_parquet(recorded_folder() / "bars" / f"{name}.parquet")
    bars = bars.with_columns(open_time=pl.from_epoch("ts_ms", "ms").dt.replace_time_zone("UTC").cast(UTC_MS))
    bars = bars.drop("ts_ms").unique("open_time", keep="last").sort("open_time")
    return bars.head(rows) if rows else bars


def dense(bars: pl.DataFrame) -> pl.DataFrame:
    """``bars`` with a row of nulls for every open time at which there is none."""
    step = bars["open_time"].diff().min()
    grid = pl.datetime_range(bars["open_time"][0], bars["open_time"][-1], step, eager=True, time_zone="UTC")
    return pl.DataFrame({"open_time": grid.cast(UTC_MS)}).join(bars, on="open_time", how="left", maintain_order="left")


@lru_cache(maxsize=2)
def recorded_market(names: tuple[tuple[str, str], ...], days: int) -> Bars:
    """15m, 1h, 4h and 1d bars of recorded 1m files (instrument, name), ``days`` from the latest common begin on."""
    series = {instrument: recorded_bars(name) for instrument, name in names}
    begin = max(frame["open_time"][0] for frame in series.values())
    parts = [
        frame.filter(pl.col("open_time").is_between(begin, begin + timedelta(days=days), closed="left")).select(
            pl.lit(instrument).alias("instrument"), "open_time", "open", "high", "low", "close", "volume"
        )
        for instrument, frame in sorted(series.items())
    ]
    return roll_up_all(pl.concat(parts), (Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1))


#: A month with an outage; a quarter of a year with many absent minutes.
OUTAGE = tuple((f"{base}-USDT", f"binance_spot/{base}_USDT-1m-2021-04") for base in ("BTC", "ETH", "ADA", "DOGE"))
THIN = (
    ("BTC-USD", "bitfinex/BTCUSD-1m-2019H1"),
    ("ETH-USD", "bitfinex/ETHUSD-1m-2019H1"),
    ("LTC-USD", "bitfinex/LTCUSD-1m-2019Q1"),
    ("NEO-USD", "bitfinex/NEOUSD-1m-2019Q1"),
)
