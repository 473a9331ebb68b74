"""The ClickHouse mirror on the chdb engine: load, follow, copies in 20 random orders, and kills.

    python bench/clickhouse.py [--bars 10000000] [--orders 20] [--kills 20]

A database with ``--bars`` bars of 1m gets corrections of 5 % of them, as several copies of each by different sources
and revisions. Each order sends the same copies to a mirror of the first bars, in shuffled batches, and compares it with
PostgreSQL before and after merges. The mirror that follows is compared with PostgreSQL in every row and column. Kills
hit a process that follows while PostgreSQL is written.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import database, load, machine, postgres, table

from crypto_pipeline.lake.clickhouse.engine import MirrorAddress, MirrorEngine
from crypto_pipeline.lake.clickhouse.follow import follow
from crypto_pipeline.lake.clickhouse.tables import COPY_SCHEMA, MirrorTables
from crypto_pipeline.market.bars import OPTIONAL_COLUMNS
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.bars import series

START = datetime(2025, 1, 1, tzinfo=UTC)
SYMBOLS = tuple(f"C{number:02}-USDT" for number in range(20))
M1 = Timeframe.M1
#: Sources and seconds after the first revision of the copies of a corrected bar.
SOURCES = (("venue_historical", 7200), ("live_gap_filled", 3600), ("historical_aggregated", 10800))
DECIDED = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "trade_count", "source",
           "complete", "revision")  # fmt: skip
#: A sum over the best copies that any other row changes; recorded_at is PostgreSQL's own.
SUMMED = f"""
SELECT count() AS rows, sum(cityHash64(instrument_id, open_time, {", ".join(f"ifNull({name}, -1)" if name in OPTIONAL_COLUMNS else name for name in DECIDED)})) AS hash
FROM (
    SELECT * FROM crypto_pipeline.bars
    ORDER BY instrument_id, timeframe, open_time, version DESC LIMIT 1 BY instrument_id, timeframe, open_time
) WHERE NOT removed
"""  # noqa: E501
FOLLOW = """
import sys
from crypto_pipeline.lake.clickhouse.engine import MirrorAddress, MirrorEngine
from crypto_pipeline.lake.clickhouse.follow import follow
from crypto_pipeline.lake.clickhouse.tables import MirrorTables
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
address = MirrorAddress.parse(sys.argv[2])
with Store(sys.argv[1]) as store, MirrorEngine(address) as engine:
    print("begun", flush=True)
    follow(store, MirrorTables(engine), address.shown, [Timeframe.M1])
"""


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    clock = time.monotonic()
    answer = work()
    return time.monotonic() - clock, answer


def corrections(bars: pl.DataFrame, seed: int) -> list[pl.DataFrame]:
    """Copies of 5 % of the bars, each by every source, in 20 batches of a mixed order."""
    rng = np.random.default_rng(seed)
    chosen = bars.filter(pl.Series(rng.random(bars.height) < 0.05))
    made = []
    for source, later in SOURCES:
        factor = pl.Series(1 + rng.random(chosen.height) / 100)
        changed = [(pl.col(name) * factor).alias(name) for name in ("open", "high", "low", "close")]
        revision = pl.col("revision") + pl.duration(seconds=later)
        complete = pl.Series("complete", rng.random(chosen.height) < 0.8)
        made.append(chosen.with_columns(*changed, complete, source=pl.lit(source), revision=revision))
    mixed = pl.concat(made).with_columns(batch=pl.Series(rng.integers(0, 20, chosen.height * len(SOURCES))))
    return [part.drop("batch") for part in mixed.partition_by("batch")]


def as_copies(bars: pl.DataFrame, ids: dict[str, int]) -> pl.DataFrame:
    number = pl.col("instrument").replace_strict(ids, return_dtype=pl.Int32)
    whole = bars.with_columns(
        instrument_id=number, recorded_at=pl.lit(START), epoch=0, data_version=0, removed=pl.lit(False)
    )
    return whole.select(pl.col(name).cast(dtype) for name, dtype in COPY_SCHEMA.items())


def in_database(folder: Path, name: str) -> MirrorAddress:
    return MirrorAddress(f"chdb://{folder}/{name}", name, {"interface": "chdb", "path": str(folder)})


def equal(store: Store, tables: MirrorTables, end: datetime) -> tuple[bool, int]:
    """Whether every bar of the mirror equals PostgreSQL's in every column, and their number."""
    rows = 0
    for symbol in SYMBOLS:
        ours, theirs = tables.bars([symbol], M1, START, end), store.reader.read([symbol], M1, START, end)
        if not ours.equals(theirs):
            return False, rows
        rows += ours.height
    return True, rows


def sums(engine: MirrorEngine) -> tuple[Any, ...]:
    return engine.frame(SUMMED).row(0)


def orders(folder: Path, batches: list[pl.DataFrame], ids: dict[str, int], count: int) -> None:
    """Send the copies in shuffled orders; compare with the mirror that followed PostgreSQL (database ``truth``)."""
    with MirrorEngine(in_database(folder, "truth")) as truth:
        expected = sums(truth)
        right = {"before": 0, "after": 0}
        slowest, stored = 0.0, 0
        for number in range(count):
            shuffled = random.Random(number).sample(batches, len(batches))
            with MirrorEngine(in_database(folder, f"order_{number}")) as engine:
                tables = MirrorTables(engine)
                tables.prepare()
                engine.command("ALTER TABLE crypto_pipeline.bars ATTACH PARTITION ALL FROM first_state.bars")
                clock = time.monotonic()
                for batch in shuffled:
                    tables.write(M1, as_copies(batch, ids))
                slowest = max(slowest, time.monotonic() - clock)
                stored = max(stored, engine.frame("SELECT count() FROM crypto_pipeline.bars").item())
                right["before"] += sums(engine) == expected
                tables.merge()
                right["after"] += sums(engine) == expected
                tables.drop()
            print(f"order {number + 1}: equal {right}", file=sys.stderr, flush=True)
    table(
        ["orders", "copies sent in each, slowest", "most stored copies", "equal before merges", "equal after", "load"],
        [(count, f"{sum(b.height for b in batches):,} in {slowest:.1f} s", f"{stored:,}", right["before"],
          right["after"], load())],
    )  # fmt: skip


def kills(store: Store, url: str, folder: Path, bars: pl.DataFrame, end: datetime, count: int) -> None:
    """Kill a process that follows at random moments, while corrections come."""
    address, rng, died = MirrorAddress.parse(f"chdb://{folder}"), random.Random(3), 0
    for number in range(count):
        part = corrections(bars.slice(rng.randrange(bars.height - 40_000), 40_000), 100 + number)
        for batch in part:
            store.bars.write(batch.with_columns(revision=pl.col("revision") + pl.duration(days=1 + number)), M1)
        child = subprocess.Popen([sys.executable, "-c", FOLLOW, url, address.shown],
                                 stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        time.sleep(rng.random() * 1.5)
        child.send_signal(signal.SIGKILL)
        died += child.wait() == -signal.SIGKILL
        child.stdout.close()
    with MirrorEngine(address) as engine:
        tables = MirrorTables(engine)
        took, done = timed(lambda: follow(store, tables, address.shown, [M1]))
        right, rows = equal(store, tables, end)
        left = follow(store, tables, address.shown, [M1]).cells
    table(
        ["kills", "of them before the end", "then equal", "bars compared", "s of the last run", "all compared again",
         "cells left", "load"],
        [(count, died, right, f"{rows:,}", f"{took:.1f}", done.compared_all, left, load())],
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bars", type=int, default=10_000_000)
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--kills", type=int, default=20)
    chosen = parser.parse_args()
    each = chosen.bars // len(SYMBOLS)
    end = START + timedelta(minutes=each)
    print(machine())
    with (
        postgres() as server,
        database(server, "bench") as url,
        tempfile.TemporaryDirectory() as place,
        Store(url, batch_rows=200_000) as store,
    ):
        store.instruments.add([Instrument.crypto(symbol) for symbol in SYMBOLS])
        bars = series(SYMBOLS, each, START, source="venue_historical").sort("instrument", "open_time")
        for part in bars.iter_slices(1_000_000):
            store.bars.write(part, M1)
        work(store, url, Path(place), bars, end, chosen)


def work(store: Store, url: str, folder: Path, bars: pl.DataFrame, end: datetime, chosen: argparse.Namespace) -> None:
    ids = store.symbols.ids(SYMBOLS)
    main_folder = folder / "orders"
    lines = []
    with MirrorEngine(in_database(main_folder, "truth")) as engine:
        tables = MirrorTables(engine)
        took, done = timed(lambda: follow(store, tables, "truth", [M1]))
        figures = tables.figures()
        lines.append(("first load", f"{done.copies_sent:,}", f"{took:.1f}", f"{done.copies_sent / took:,.0f}",
                      f"{figures['bytes'] / done.copies_sent:.1f}"))  # fmt: skip
        with MirrorEngine(in_database(main_folder, "first_state")) as first:
            MirrorTables(first).prepare()
            first.command("ALTER TABLE first_state.bars ATTACH PARTITION ALL FROM truth.bars")
        took, done = timed(lambda: follow(store, tables, "truth", [M1]))
        lines.append(("nothing to follow", 0, f"{took:.2f}", "", ""))
        batches = corrections(bars, 2)
        # PostgreSQL's own independence of their order is shown elsewhere
        store.bars.write(pl.concat(batches).sort("instrument", "open_time"), M1)
        took, done = timed(lambda: follow(store, tables, "truth", [M1]))
        lines.append(("5 % corrected, all cells", f"{done.copies_sent:,}", f"{took:.1f}",
                      f"{done.bars_read / took:,.0f} read", ""))  # fmt: skip
        took, (right, rows) = timed(lambda: equal(store, tables, end))
        lines.append((f"compared in every column: {'equal' if right else 'DIFFERENT'}", f"{rows:,}", f"{took:.1f}",
                      f"{rows / took:,.0f}", ""))  # fmt: skip
        store.bars.write(bars.filter(pl.col("open_time").dt.date() == START.date()).with_columns(
            pl.col("close") + 0.001, revision=pl.col("revision") + pl.duration(days=9)), M1)  # fmt: skip
        took, done = timed(lambda: follow(store, tables, "truth", [M1]))
        lines.append((f"a day of {len(SYMBOLS)} instruments healed", f"{done.copies_sent:,}", f"{took:.2f}", "", ""))
        for name, symbols in (("one instrument, all of it", SYMBOLS[:1]), ("all instruments, 30 days", SYMBOLS)):
            until = end if len(symbols) == 1 else START + timedelta(days=30)
            columns = ["instrument", "open_time", "open", "high", "low", "close", "volume"]
            reads = [timed(lambda: tables.bars(symbols, M1, START, until, columns))[0] for _ in range(3)]  # noqa: B023
            rows = tables.bars(symbols, M1, START, until, columns).height
            lines.append((f"read OHLCV of {name}", f"{rows:,}", f"{min(reads):.2f}", f"{rows / min(reads):,.0f}", ""))
    table(["what", "bars", "s", "bars/s", "bytes a bar"], lines)
    print(f"\nload {load()}\n", flush=True)
    if chosen.orders:
        day = bars.filter(pl.col("open_time").dt.date() == START.date()).with_columns(
            pl.col("close") + 0.001, revision=pl.col("revision") + pl.duration(days=9)
        )
        orders(main_folder, [*batches, day], ids, chosen.orders)
    if chosen.kills:
        kills(store, url, folder / "kills", bars, end, chosen.kills)


if __name__ == "__main__":
    os.nice(1)
    main()
