"""Run by an interpreter with ArcticDB and Polars: 1m bars of many instruments, one symbol each, read as Polars frames.

python arcticdb_frames.py load LMDB FOLDER     every FOLDER/NAME.parquet becomes the symbol NAME
python arcticdb_frames.py ask LMDB             questions from stdin as JSON, answers to stdout: milliseconds of each
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import arcticdb
import pandas as pd
import polars as pl

FORMATS = ("polars", "pyarrow", "pandas")


def library(place: str) -> Any:
    return arcticdb.Arctic(f"lmdb://{place}?map_size=8GB").get_library("bars", create_if_missing=True)


def load(place: str, folder: Path) -> None:
    bars, began, rows = library(place), time.monotonic(), 0
    for path in sorted(folder.glob("*.parquet")):
        frame = pd.read_parquet(path)
        made = frame.set_index(pd.DatetimeIndex(frame.pop("open_time")).tz_localize(None))
        bars.write(path.stem, made)
        rows += len(made)
    print(json.dumps({"rows": rows, "seconds": time.monotonic() - began, "version": arcticdb.__version__}))


def as_polars(bars: Any, name: str, span: Any, form: str) -> pl.DataFrame:
    """One symbol as a Polars frame; ``form`` is ArcticDB's own way to give it."""
    if form == "pandas":
        return pl.from_pandas(bars.read(name, date_range=span).data.reset_index())
    data = bars.read(name, date_range=span, output_format=form).data
    return data if isinstance(data, pl.DataFrame) else pl.from_arrow(data)  # type: ignore[return-value]


def answer(bars: Any, asked: dict[str, Any], form: str) -> pl.DataFrame:
    start, end = (pd.Timestamp(asked[name]).tz_localize(None) for name in ("start", "end"))
    span = (start, end - pd.Timedelta(1, "ns"))
    if asked.get("latest"):
        return pl.concat([pl.from_pandas(bars.tail(name, 1).data.reset_index()) for name in asked["names"]])
    if len(asked["names"]) == 1:
        return as_polars(bars, asked["names"][0], span, form)
    parts = [
        as_polars(bars, name, span, form).insert_column(0, pl.lit(name).alias("instrument")) for name in asked["names"]
    ]
    return pl.concat(parts)


def ask(place: str) -> None:
    bars, found = library(place), {}
    for asked in json.load(sys.stdin):
        best: dict[str, list[float]] = {}
        for form in FORMATS:
            try:
                answer(bars, asked, form)
            except Exception:
                continue  # this version has no such form
            for _ in range(asked["count"]):
                began = time.perf_counter()
                rows = answer(bars, asked, form).height
                best.setdefault(form, []).append((time.perf_counter() - began) * 1000)
        form = min(best, key=lambda one: min(best[one]))
        found[asked["what"]] = {"ms": sorted(best[form]), "form": form, "rows": rows}
    found["peak_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "load":
        load(sys.argv[2], Path(sys.argv[3]))
    else:
        ask(sys.argv[2])
