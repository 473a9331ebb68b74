"""The ClickHouse mirror on the chdb engine: load, follow as it grows, and corrections in 20 random orders.

    nice python bench/clickhouse.py [--bars 10000000] [--orders 20]

A tenth of the bars is loaded from the table, the rest from the files of the mirror; after each, a healed day of all
instruments is followed. Then 5 % of the bars are corrected, by several copies of each from different sources and
revisions, and the mirror that followed is compared with PostgreSQL in every row and column. Each order sends the same
copies in shuffled batches to a mirror of the bars before them. Its hash before and after merges is compared with that
of PostgreSQL; each engine makes its own.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from clickhouse_parts import START, SYMBOLS, clickhouse_hash, corrections, in_database, postgres_hash
from common import database, load, machine, postgres, table

from crypto_pipeline.lake.clickhouse.engine import MirrorEngine
from crypto_pipeline.lake.clickhouse.follow import follow
from crypto_pipeline.lake.clickhouse.tables import COPY_SCHEMA, MirrorTables, stored_rows
from crypto_pipeline.lake.mirror.maker import MirrorMaker
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline_tests.builders.bars import series

M1 = Timeframe.M1
TRUTH = "truth"
COLUMNS = ", ".join(["timeframe", "source_rank", *COPY_SCHEMA])


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    clock = time.monotonic()
    answer = work()
    return time.monotonic() - clock, answer


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text} (load {load()})", file=sys.stderr, flush=True)


def healed(bars: pl.DataFrame, day: datetime, later: int) -> pl.DataFrame:
    """All bars of a day with other values, stated ``later`` days after."""
    chosen = bars.filter(pl.col("open_time").dt.date() == day.date())
    return chosen.with_columns(pl.col("close") + 0.001, revision=pl.col("revision") + pl.duration(days=later))


def as_copies(bars: pl.DataFrame, ids: dict[str, int]) -> pl.DataFrame:
    number = pl.col("instrument").replace_strict(ids, return_dtype=pl.Int32)
    whole = bars.with_columns(
        instrument_id=number, recorded_at=pl.lit(START), epoch=0, data_version=0, removed=pl.lit(False)
    )
    return whole.select(pl.col(name).cast(dtype) for name, dtype in COPY_SCHEMA.items())


class Bench:
    """One database, its mirror in ClickHouse (``truth``), and the figures so far."""

    def __init__(self, store: Store, engine: MirrorEngine, folder: Path, bars: pl.DataFrame) -> None:
        self.store, self.engine, self.folder, self.bars = store, engine, folder, bars
        self.tables, self.lines = MirrorTables(engine), list[tuple[object, ...]]()
        self.end = START + timedelta(minutes=bars.height // len(SYMBOLS))

    def line(self, what: str, bars: int, seconds: float, more: str = "") -> None:
        rate = f"{bars / seconds:,.0f}" if bars > 50_000 else ""
        self.lines.append((what, f"{bars:,}", f"{seconds:.2f}", rate, more, load().split()[0]))
        say(f"{what}: {bars:,} bars, {seconds:.2f} s")

    def follow(self) -> tuple[float, Any]:
        return timed(lambda: follow(self.store, self.tables, TRUTH, [M1]))

    def bring(self, bars: pl.DataFrame, *, files: bool) -> None:
        """Write bars to PostgreSQL, make files of them if asked to, and let ClickHouse follow."""
        took, _ = timed(lambda: [self.store.bars.write(part, M1) for part in bars.iter_slices(1_000_000)])
        say(f"{bars.height:,} bars written in {took:.0f} s")
        if files:
            maker = MirrorMaker(self.store, ArchiveStorage(str(self.folder / "mirror")), self.folder / "scratch")
            took, report = timed(lambda: maker.run(self.end + timedelta(days=40)))
            say(f"{len(report.made)} files of the mirror in {took:.0f} s")
        took, done = self.follow()
        source = "the mirror's files" if files else "the table"
        size = self.tables.figures()["bytes"] / self.tables.figures()["rows"]
        self.line(f"load from {source}", done.copies_sent, took, f"{size:.1f} bytes a bar")

    def grown(self, rows: int, later: int) -> None:
        """What it costs to follow nothing, and a healed day of all instruments, with so many bars stored."""
        self.line(f"nothing changed, {rows:,} stored", 0, min(self.follow()[0] for _ in range(3)))
        took = []
        for number in range(3):
            self.store.bars.write(healed(self.bars, START + timedelta(days=number), later), M1)
            seconds, done = self.follow()
            took.append((seconds, done.copies_sent))
        self.line(f"a day of {len(SYMBOLS)} instruments healed, {rows:,} stored, best of 3", min(took)[1], min(took)[0])

    def equal(self) -> None:
        """Compare every bar of the mirror with PostgreSQL's in every column."""
        clock, rows, right = time.monotonic(), 0, True
        for symbol in SYMBOLS:
            ours = self.tables.bars([symbol], M1, START, self.end)
            right &= ours.equals(self.store.reader.read([symbol], M1, START, self.end))
            rows += ours.height
        self.line(f"compared in every column: {'equal' if right else 'DIFFERENT'}", rows, time.monotonic() - clock)

    def reads(self) -> None:
        for name, symbols in (("one instrument, all of it", SYMBOLS[:1]), ("all instruments, 30 days", SYMBOLS)):
            until = self.end if len(symbols) == 1 else START + timedelta(days=30)
            columns = ["instrument", "open_time", "open", "high", "low", "close", "volume"]
            found = [timed(lambda: self.tables.bars(symbols, M1, START, until, columns)) for _ in range(3)]  # noqa: B023
            seconds, frame = min(found, key=lambda one: one[0])
            self.line(f"read OHLCV of {name}", frame.height, seconds)

    def orders(self, batches: list[pl.DataFrame], count: int) -> None:
        """Send the copies in shuffled orders to mirrors of the first state; compare each with PostgreSQL."""
        ids = self.store.symbols.ids(SYMBOLS)
        took, expected = timed(lambda: postgres_hash(self.store))
        say(f"PostgreSQL: {expected} in {took:.0f} s")
        right = {"followed": clickhouse_hash(self.engine) == expected, "before": 0, "after": 0}
        with MirrorEngine(in_database(self.folder / "chdb", "staged")) as staged:
            staged.command("CREATE DATABASE staged")
            for number, batch in enumerate(batches):
                staged.command(f"CREATE TABLE staged.batch_{number} AS truth.bars ENGINE = Memory")
                staged.insert(f"batch_{number}", stored_rows(M1, as_copies(batch, ids)))
            slowest, stored = 0.0, 0
            for number in range(count):
                seconds, copies = self._order(number, len(batches), expected, right)
                slowest, stored = max(slowest, seconds), max(stored, copies)
                say(f"order {number + 1}: {seconds:.0f} s, equal {right}")
        sent = f"{sum(batch.height for batch in batches):,}"
        table(
            ["orders", "copies sent in each", "most stored copies", "mirror that followed", "equal before merges",
             "equal after", "s of one, most", "load"],
            [(count, sent, f"{stored:,}", "equal" if right["followed"] else "DIFFERENT", right["before"],
              right["after"], f"{slowest:.0f}", load())],
        )  # fmt: skip

    def _order(self, number: int, batches: int, expected: object, right: dict[str, Any]) -> tuple[float, int]:
        clock = time.monotonic()
        with MirrorEngine(in_database(self.folder / "chdb", f"order_{number}")) as engine:
            tables = MirrorTables(engine)
            tables.prepare()
            engine.command(f"SYSTEM STOP MERGES order_{number}.bars")
            engine.command("ALTER TABLE crypto_pipeline.bars ATTACH PARTITION ALL FROM first_state.bars")
            for batch in random.Random(number).sample(range(batches), batches):
                engine.command(
                    f"INSERT INTO crypto_pipeline.bars ({COLUMNS}) SELECT {COLUMNS} FROM staged.batch_{batch}"
                )
            stored = engine.frame("SELECT count() FROM crypto_pipeline.bars").item()
            right["before"] += clickhouse_hash(engine) == expected
            engine.command(f"SYSTEM START MERGES order_{number}.bars")
            tables.merge()
            right["after"] += clickhouse_hash(engine) == expected
            tables.drop()
        return time.monotonic() - clock, stored


def work(bench: Bench, orders: int) -> None:
    cut = bench.bars["open_time"] < START + (bench.end - START) / 10
    first = bench.bars.filter(cut)
    bench.bring(first, files=False)
    bench.grown(first.height, 9)
    bench.bring(bench.bars.filter(~cut), files=True)
    bench.grown(bench.bars.height, 10)
    with MirrorEngine(in_database(bench.folder / "chdb", "first_state")) as engine:
        MirrorTables(engine).prepare()
        engine.command("ALTER TABLE first_state.bars ATTACH PARTITION ALL FROM truth.bars")
    batches = [*corrections(bench.bars, 2), healed(bench.bars, START + timedelta(days=20), 12)]
    # PostgreSQL's own independence of their order is shown elsewhere
    took, _ = timed(lambda: bench.store.bars.write(pl.concat(batches).sort("instrument", "open_time"), M1))
    say(f"corrections written in {took:.0f} s")
    took, done = bench.follow()
    bench.line("5 % corrected, all cells", done.copies_sent, took, f"{done.bars_read:,} bars read")
    bench.equal()
    bench.reads()
    table(["what", "bars", "s", "bars/s", "", "load"], bench.lines)
    print(flush=True)
    if orders:
        bench.orders(batches, orders)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bars", type=int, default=10_000_000)
    parser.add_argument("--orders", type=int, default=20)
    chosen = parser.parse_args()
    print(machine())
    with (
        postgres() as server,
        database(server, "bench") as url,
        tempfile.TemporaryDirectory() as place,
        Store(url, batch_rows=200_000) as store,
        MirrorEngine(in_database(Path(place) / "chdb", TRUTH)) as engine,
    ):
        store.instruments.add([Instrument.crypto(symbol) for symbol in SYMBOLS])
        each = chosen.bars // len(SYMBOLS)
        bars = series(SYMBOLS, each, START, source="venue_historical").sort("instrument", "open_time")
        work(Bench(store, engine, Path(place), bars), chosen.orders)


if __name__ == "__main__":
    os.nice(1)
    main()
