"""Recorded closes of real exchanges over two months and more, for forecasts: hours, and days."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline_tests.builders.lean import daily_bars, factor_rows

Floats = npt.NDArray[np.float64]
#: Files of minutes (or five minutes) by the name of the series.
MINUTES = {
    "BTC-USD 2018-19": ("bitfinex/BTCUSD-1m-2018H2", "bitfinex/BTCUSD-1m-2019H1"),
    "ETH-USD 2019": ("bitfinex/ETHUSD-1m-2019H1",),
    "LTC-USD 2019": ("bitfinex/LTCUSD-1m-2019Q1",),
    "NEO-USD 2019": ("bitfinex/NEOUSD-1m-2019Q1",),
    "BTC-USDC 2023": ("kraken/BTCUSDC-1m-2023Q1",),
    **{f"{base}-BTC 2021": (f"binance_spot/{base}_BTC-5m-2021-02",) for base in ("ETH", "LTC", "DASH", "BRD", "NXS")},
}


def hours(recorded: Path, name: str) -> Floats:
    """Closes of every hour of a series, NaN where nothing was recorded."""
    return _closes(recorded, name, 3_600_000)


def days(recorded: Path, name: str) -> Floats:
    """Closes of every UTC day of the same."""
    return _closes(recorded, name, 86_400_000)


def _closes(recorded: Path, name: str, width_ms: int) -> Floats:
    parts = [pl.read_parquet(recorded / f"bars/{file}.parquet", columns=["ts_ms", "close"]) for file in MINUTES[name]]
    window = (pl.col("ts_ms") // width_ms).alias("window")
    found = pl.concat(parts).sort("ts_ms").group_by(window).agg(pl.col("close").last()).sort("window")
    first = found["window"][0]
    closes = np.full(found["window"][-1] - first + 1, np.nan)
    closes[(found["window"] - first).to_numpy()] = found["close"].to_numpy()
    return closes


def coinbase_days(recorded: Path) -> Floats:
    """Daily closes of BTC-USD at Coinbase, 2014 to 2018."""
    with zipfile.ZipFile(recorded / "lean/crypto/coinbase/daily/btcusd_trade.zip") as archive:
        text = archive.read(archive.namelist()[0]).decode()
    return np.array([float(row[4]) for row in csv.reader(io.StringIO(text))])


def sessions(recorded: Path, ticker: str) -> Floats:
    """Closes of a stock in every session from 1998 to 2021, on the basis after the last split."""
    bars, factors = daily_bars(recorded, ticker), factor_rows(recorded, ticker)
    days = np.array([one.day.toordinal() for one in factors])
    places = np.searchsorted(days, np.array([each.toordinal() for each in bars["open_time"].dt.date().to_list()]))
    splits = np.array([*(float(one.split) for one in factors), 1.0])
    closes: Floats = bars["close"].to_numpy() * splits[places]
    return closes
