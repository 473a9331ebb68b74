"""Run by an interpreter with nautilus_trader: rows that ccxt downloaded, in its Parquet catalogue.

Reads {"folder", "start", "end", "runs": [rows by pair, …]} from stdin; answers what is stored after each run, how many
rows its type of bars refuses, and what the catalogue says is missing. With {"year": file} it times a read.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import nautilus_trader
import pandas as pd
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.persistence.catalog import ParquetDataCatalog

NANOS, MINUTE, PLACES = 1_000_000, 60_000, 8


def bar_type(pair: str) -> BarType:
    """Bars of one minute, made outside."""
    return BarType.from_str(f"{pair.replace('/', '')}.SIM-1-MINUTE-LAST-EXTERNAL")


def bars(pair: str, rows: list[list[float]]) -> tuple[list[Bar], list[str]]:
    """Bars of rows, and why others are refused. ``ts_event`` is the close, by its convention."""
    kind, made, refused = bar_type(pair), [], []
    for moment, opened, high, low, close, volume in rows:
        ended = (int(moment) + MINUTE) * NANOS
        prices = [Price(each, PLACES) for each in (opened, high, low, close)]
        try:
            made.append(Bar(kind, *prices, Quantity(volume, PLACES), ended, ended))
        except ValueError as error:
            refused.append(str(error))
    return made, refused


def stored(catalogue: ParquetDataCatalog, pair: str) -> list[list[float]]:
    """What is in the catalogue."""
    found = catalogue.bars(bar_types=[str(bar_type(pair))])
    return [
        [one.ts_event // NANOS - MINUTE, float(one.open), float(one.high), float(one.low), float(one.close),
         float(one.volume)]
        for one in found
    ]  # fmt: skip


def months(asked: dict[str, Any]) -> dict[str, Any]:
    """Each run is written as it comes."""
    catalogue = ParquetDataCatalog(f"{asked['folder']}/catalogue")
    states, refused, troubles = [], [], []
    began = time.monotonic()
    for run in asked["runs"]:
        for pair, given in run.items():
            made, why = bars(pair, given)
            refused += why
            try:
                catalogue.write_data(made)
            except Exception as error:
                troubles.append(f"{type(error).__name__}: {error}"[:200])
        states.append({pair: stored(catalogue, pair) for pair in run})
    seconds = time.monotonic() - began
    first, last = asked["start"] * NANOS, asked["end"] * NANOS
    pair = next(iter(asked["runs"][0]))
    missing = catalogue.get_missing_intervals_for_request(first, last, Bar, identifier=str(bar_type(pair)))
    return {
        "seconds": seconds, "version": nautilus_trader.__version__, "states": states, "refused": refused,
        "troubles": troubles, "missing": missing,
    }  # fmt: skip


def year(file: str, folder: Path) -> dict[str, Any]:
    """Write a year of bars of one instrument, read it back three times: seconds (median), bytes on disk."""
    frame = pd.read_parquet(file)
    names = ["open_time", "open", "high", "low", "close", "volume"]
    frame["open_time"] = frame["open_time"].astype("datetime64[ms, UTC]").astype("int64")
    made, _ = bars("BTC/USDT", frame[names].values.tolist())
    catalogue = ParquetDataCatalog(f"{folder}/year")
    began = time.monotonic()
    catalogue.write_data(made)
    wrote = time.monotonic() - began
    took = []
    for _ in range(3):
        began = time.monotonic()
        assert len(catalogue.bars(bar_types=[str(bar_type("BTC/USDT"))])) == len(frame)
        took.append(time.monotonic() - began)
    size = sum(path.stat().st_size for path in (folder / "year").rglob("*") if path.is_file())
    return {"write": wrote, "read": statistics.median(took), "bytes": size, "version": nautilus_trader.__version__}


def main() -> None:
    """Answer one question."""
    asked = json.load(sys.stdin)
    answer = year(asked["year"], Path(asked["folder"])) if "year" in asked else months(asked)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
