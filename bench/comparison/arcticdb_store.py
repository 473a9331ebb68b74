"""Run by an interpreter with ArcticDB: rows that ccxt downloaded, twice, in one symbol each; the past by version.

Reads {"folder", "runs": [rows by pair, …]} from stdin; answers what is stored after each run, and what a read of the
first version gives afterwards. With {"year": file} it times writing and reading.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import arcticdb
import pandas as pd


def frame(rows: list[list[float]]) -> pd.DataFrame:
    """Rows as a frame with an index of times, as its examples have it."""
    made = pd.DataFrame(rows, columns=["time", "open", "high", "low", "close", "volume"])
    return made.set_index(pd.to_datetime(made.pop("time"), unit="ms"))


def rows(made: pd.DataFrame) -> list[list[float]]:
    """The frame as rows."""
    times = made.index.astype("datetime64[ms]").astype("int64").tolist()
    return [list(row) for row in zip(times, *(made[name].tolist() for name in made.columns), strict=True)]


def months(asked: dict[str, object]) -> dict[str, object]:
    """Each run is written as a version."""
    library = arcticdb.Arctic(f"lmdb://{asked['folder']}/lmdb").get_library("bars", create_if_missing=True)
    began = time.monotonic()
    states = []
    for run in asked["runs"]:  # type: ignore[attr-defined]
        for pair, given in run.items():
            library.write(pair, frame(given))
        states.append({pair: rows(library.read(pair).data) for pair in run})
    seconds = time.monotonic() - began
    first = {pair: rows(library.read(pair, as_of=0).data) for pair in asked["runs"][0]}  # type: ignore[index]
    return {"seconds": seconds, "version": arcticdb.__version__, "states": states, "first": first}


def year(file: str, folder: Path) -> dict[str, object]:
    """Write a year of bars of one instrument, read it back five times: seconds (median), bytes on disk."""
    made = pd.read_parquet(file)
    made = made.set_index(pd.to_datetime(made.pop("open_time")))[["open", "high", "low", "close", "volume"]]
    library = arcticdb.Arctic(f"lmdb://{folder}/year?map_size=1GB").get_library("bars", create_if_missing=True)
    began = time.monotonic()
    library.write("BTC/USDT", made)
    wrote = time.monotonic() - began
    took = []
    for _ in range(5):
        began = time.monotonic()
        assert len(library.read("BTC/USDT").data) == len(made)
        took.append(time.monotonic() - began)
    size = sum(path.stat().st_blocks * 512 for path in (folder / "year").rglob("*") if path.is_file())
    return {"write": wrote, "read": statistics.median(took), "bytes": size, "version": arcticdb.__version__}


def main() -> None:
    """Answer one question."""
    asked = json.load(sys.stdin)
    answer = year(asked["year"], Path(asked["folder"])) if "year" in asked else months(asked)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
