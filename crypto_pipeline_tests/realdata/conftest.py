"""Recorded exchange data: where it is, and how its bars are read."""

from __future__ import annotations

import os
import re
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline.market import UTC_MS

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of recorded data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("CRYPTO_PIPELINE_TEST_DATA") or _ROOT.parent / "shared" / "data")
    if not (folder / "bars").is_dir():
        pytest.skip(f"no recorded exchange data in {folder}: set CRYPTO_PIPELINE_TEST_DATA to the folder with bars/")
    return folder


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
