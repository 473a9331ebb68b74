"""The check of silence on everything that was recorded: what it doubts is known to be wrong, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline.market.gaps.zero_volume import improbable

pytestmark = pytest.mark.realdata


def read(path: Path) -> pl.DataFrame:
    bars = pl.read_parquet(path).sort("ts_ms").with_columns(pl.lit(path.stem.split("-1m")[0]).alias("instrument"))
    after = (pl.col("ts_ms").diff() == 60_000).fill_null(False)
    flat = (pl.col("high") == pl.col("low")) & (~after | (pl.col("open") == pl.col("close").shift(1)))
    time = pl.from_epoch("ts_ms", "ms").dt.replace_time_zone("UTC").dt.cast_time_unit("ms").alias("open_time")
    return bars.select("instrument", time, flat.fill_null(True).alias("flat"), "volume")


def test_only_known_faults_of_the_venues_are_doubted(recorded_data: Path) -> None:
    """Two bars beside the fault of 2021-04-12 09:45, and the 72 minutes before the outage of 2023-03-24."""
    groups = ["binance_spot/*-1m-2021-04", "binance_spot/*-1m-2023-*", "binance_us/*-1m-*", "bitfinex/*-1m-*"]
    found, silent_bars = [], 0
    for group in groups:
        bars = pl.concat([read(path) for path in sorted((recorded_data / "bars").glob(f"{group}.parquet"))])
        bars = bars.sort("instrument", "open_time")
        silent = bars.filter(pl.col("volume") == 0)
        silent_bars += silent.height
        days = bars.group_by("instrument", pl.col("open_time").dt.date().alias("day")).len("present")
        activity = bars.group_by("open_time").len("instruments")
        found += improbable(silent.drop("volume"), days, activity).select("instrument", "open_time", "minutes").rows()
    assert silent_bars == 83_938
    assert found == [
        ("NXS_BTC", datetime(2021, 4, 12, 9, 46, tzinfo=UTC), 1),
        ("BRD_BTC", datetime(2021, 4, 12, 9, 48, tzinfo=UTC), 1),
        ("ETH_USDT", datetime(2023, 3, 24, 11, 28, tzinfo=UTC), 72),
    ]
