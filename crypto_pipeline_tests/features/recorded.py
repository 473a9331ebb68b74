"""Recorded bars of real exchanges, as the venue returned them: with holes and quiet minutes."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline.market.bars import UTC_MS

_ROOT = Path(__file__).resolve().parents[2]
#: 1m bars with quiet minutes, with an outage, with absent quiet minutes; 15m bars.
NAMES = (
    "binance_spot/ALGO_BTC-1m-2023-04",
    "binance_spot/BTC_USDT-1m-2021-04",
    "bitfinex/NEOUSD-1m-2019Q1",
    "kraken/BTCUSDC-1m-2023Q1",
    "binance_spot/ETH_USDT-15m-2023-04",
)


def recorded_folder() -> Path:
    """The folder with ``bars/``; skips the test where there is none."""
    folder = Path(os.environ.get("CRYPTO_PIPELINE_TEST_DATA") or _ROOT.parent / "shared" / "data")
    if not (folder / "bars").is_dir():
        pytest.skip(f"no recorded exchange data in {folder}: set CRYPTO_PIPELINE_TEST_DATA to the folder with bars/")
    return folder


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
