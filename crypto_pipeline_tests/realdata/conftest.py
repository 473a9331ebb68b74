"""Reading the bars of recorded exchange data."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from crypto_pipeline.market import UTC_MS


def read_bars(path: Path) -> pl.DataFrame:
    """A Parquet file of recorded bars under the canonical name of its pair."""
    pair = re.match(r"([A-Z]+)_([A-Z]+)-", path.name)
    assert pair is not None, path
    return pl.read_parquet(path).select(
        pl.lit(f"{pair[1]}-{pair[2]}").alias("instrument"),
        pl.col("ts_ms").cast(UTC_MS).alias("open_time"),
        "open",
        "high",
        "low",
        "close",
        "volume",
    )
