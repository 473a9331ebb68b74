"""24 columns of features of 180 days of 90 instruments, through the mirror and from the table.

    python bench/long_features.py [--instruments 90] [--days 180]

Rows have random values; the table is filled by the store's own writer in a server of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from common import database, machine, postgres, table

from crypto_pipeline.features.definitions.registry import NAMES
from crypto_pipeline.lake.mirror.maker import MirrorMaker
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.reading import Reader
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(minutes=15)


def fill(store: Store, names: list[str], days: int) -> int:
    rng, schema = np.random.default_rng(1), store.features.read(names[:1], FIRST, FIRST).schema
    written = 0
    for begin in range(0, days, 10):
        first, count = FIRST + timedelta(days=begin), 96 * min(10, days - begin)
        times = pl.DataFrame({"open_time": [first + number * STEP for number in range(count)]})
        rows = pl.DataFrame({"instrument": names}).join(times, how="cross")
        made = {
            name: pl.Series(rng.random(rows.height) > 0.5) if dtype == pl.Boolean
            else pl.Series(rng.random(rows.height) * 3).cast(dtype)
            for name, dtype in schema.items() if name not in ("instrument", "open_time", "available_at")
        }  # fmt: skip
        rows = rows.with_columns(available_at=pl.col("open_time") + STEP, **made).select(list(schema))
        cells = rows.select("instrument", pl.col("open_time").dt.date().alias("day")).unique()
        cells = cells.with_columns(
            computed_from=pl.lit(1, pl.Int64), stored_from=pl.lit(None, pl.Int64), stored_schema=pl.lit("")
        )
        written += store.features.write(rows, cells, "bench", FIRST + timedelta(days=1000))
    return written


def timed(read: object, names: list[str], end: datetime, columns: list[str], count: int) -> str:
    found = []
    for _ in range(count + 1):
        began = time.perf_counter()
        rows = read(names, FIRST, end, columns=columns).height  # type: ignore[operator]
        found.append(time.perf_counter() - began)
    found = sorted(found[1:])
    return f"{found[len(found) // 2]:.2f} ({found[0]:.2f}) s, {rows:,} rows"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instruments", type=int, default=90)
    parser.add_argument("--days", type=int, default=180)
    options = parser.parse_args()
    names = [f"A{number:03d}-USDT" for number in range(options.instruments)]
    print(f"{machine()}\n", flush=True)
    with postgres() as server, database(server, "features") as url, tempfile.TemporaryDirectory() as scratch:
        with Store(url) as store:
            store.instruments.add([Instrument.crypto(name) for name in names])
            began = time.monotonic()
            print(f"{fill(store, names, options.days):,} rows written in {time.monotonic() - began:.0f} s", flush=True)
            maker = MirrorMaker(store, ArchiveStorage(f"{scratch}/mirror"), Path(scratch, "scratch"))
            began = time.monotonic()
            made = maker.run(FIRST + timedelta(days=400)).made
            size = sum(one.bytes for one in made)
            print(f"{len(made)} files, {size / 2**20:,.0f} MiB, in {time.monotonic() - began:.0f} s\n", flush=True)
        end, columns = FIRST + timedelta(days=options.days), list(NAMES[:24])
        with Reader(url) as reader:
            ours = timed(reader.features, names, end, columns, 3)
            plain = timed(reader.store.features.read, names, end, columns, 1)
        table(["24 columns of features, 180 d × 90", "median (best)"], [["mirror", ours], ["the table alone", plain]])
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
