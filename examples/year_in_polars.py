"""A year of minutes into Polars, without holding it in memory.

    python year_in_polars.py [FOLDER]

Writes the minutes of one instrument to FOLDER/btc_1m.parquet, month by month, and prints the volatility of each month.
`crypto-pipeline up --days 365` collects a year; with less history there are fewer months.
"""

import sys
from datetime import timedelta
from pathlib import Path

import polars as pl

import crypto_pipeline

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

with crypto_pipeline.Reader() as reader:
    now = reader.now()
    year = reader.scan("BTC-USDT", "1m", now - timedelta(days=365), now)

    # A lazy frame reads month after month, and only the columns that are used.
    monthly = (
        year.with_columns(change=pl.col("close").log().diff())
        .group_by(pl.col("open_time").dt.truncate("1mo").alias("month"))
        .agg(
            minutes=pl.len(),
            low=pl.col("low").min(),
            high=pl.col("high").max(),
            volatility=pl.col("change").std() * (365 * 1440) ** 0.5,
        )
        .sort("month")
        .collect()
    )
    print(monthly)

    # One month at a time goes to the file, which Polars, pandas, DuckDB or Spark read.
    path = folder / "btc_1m.parquet"
    year.select("open_time", "open", "high", "low", "close", "volume").sink_parquet(path)

rows = pl.scan_parquet(path).select(pl.len()).collect().item()
print(f"{rows} minutes in {path.name}, {path.stat().st_size / 1e6:.1f} MB")
