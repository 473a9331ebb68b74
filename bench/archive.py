"""Cost of archiving, reading back, restoring and compacting a month of 1m bars, while readers and writers work.

    python bench/archive.py [--instruments 90]

One month of 1m bars of the generated market (its ticks and lot sizes are a venue's), written as they come: a few hours
of all instruments, then the next. Then compaction, archive and restore on a server with default durability, also while
a reader asks for the newest bars 20 times a second and a writer goes on in the running month; what those waited longest
is in the table.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from common import database, machine, postgres, table

from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.retention import Kept, RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.market.generated import GeneratedMarket
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive import parquet, restore
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention

MONTH = datetime(2026, 9, 1, tzinfo=UTC)
NEXT = datetime(2026, 10, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Beside:
    """A reader and a writer that work meanwhile; ``slowest`` is the longest time of one request."""

    def __init__(self, store: Store, names: list[str], last: pl.DataFrame) -> None:
        self._store, self._names, self._last = store, names, last
        self.slowest = {"read": 0.0, "write": 0.0}
        self._stop = threading.Event()

    def _read(self) -> None:
        while not self._stop.wait(0.05):
            began = time.monotonic()
            self._store.reader.latest(self._names[:5], Timeframe.M1)
            self.slowest["read"] = max(self.slowest["read"], time.monotonic() - began)

    def _write(self) -> None:
        number = 0
        while not self._stop.wait(0.05):
            number += 1
            began = time.monotonic()
            moved = pl.duration(minutes=number)
            bars = self._last.with_columns(pl.col("open_time") + moved, pl.col("revision") + moved)
            self._store.bars.write(bars, Timeframe.M1)
            self.slowest["write"] = max(self.slowest["write"], time.monotonic() - began)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self.slowest = dict.fromkeys(self.slowest, 0.0)
        self._stop.clear()
        threads = [threading.Thread(target=one) for one in (self._read, self._write)]
        for thread in threads:
            thread.start()
        yield
        self._stop.set()
        for thread in threads:
            thread.join()

    def shown(self) -> str:
        return f"{self.slowest['read'] * 1000:.0f} / {self.slowest['write'] * 1000:.0f} ms"


def generated(names: list[str]) -> pl.DataFrame:
    """The month of all instruments. Few series are made; each is used for several instruments."""
    market = GeneratedMarket(seed=1, instruments=min(12, len(names)))
    series = [market.bars(one.canonical, Timeframe.M1, MONTH, NEXT) for one in market.symbols()]
    return pl.concat(
        series[number % len(series)].with_columns(pl.lit(name).alias("instrument")) for number, name in enumerate(names)
    ).select(*BAR_SCHEMA)


def fill(store: Store, bars: pl.DataFrame) -> None:
    """Bars in the order of arrival: a few hours of all instruments, then the next hours."""
    slices = bars.with_columns(pl.col("open_time").dt.truncate("2h").alias("hour"))
    for part in slices.partition_by("hour", maintain_order=True, include_key=False):
        store.bars.write(part, Timeframe.M1)
    with store.connections.transaction() as connection:
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM (ANALYZE) market.ohlc_data")
        connection.execute("CHECKPOINT")
        connection.autocommit = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instruments", type=int, default=90)
    options = parser.parse_args()
    names = [f"A{number:03d}-USDT" for number in range(options.instruments)]
    print(machine())
    folder = Path(tempfile.mkdtemp(prefix="cp-bench-archive-"))
    try:
        with postgres() as server, database(server, "archive") as url, Store(url) as store:
            measure(store, names, folder)
    finally:
        shutil.rmtree(folder)


def measure(store: Store, names: list[str], folder: Path) -> None:
    store.instruments.add([Instrument.crypto(name) for name in names])
    bars = generated(names)
    fill(store, bars)
    newest = bars.group_by("instrument", maintain_order=True).last().select(*BAR_SCHEMA)
    moved = NOW.replace(day=20) - MONTH
    last = newest.with_columns(pl.col("open_time", "revision") + moved)
    store.bars.write(last, Timeframe.M1)
    rows = bars.height
    size = _number(store, "SELECT pg_total_relation_size('market.ohlc_1m_2026_09')")
    policy = RetentionPolicy(dict.fromkeys(Timeframe, Kept(None, None)) | {Timeframe.M1: Kept(30, None)}, Kept(7, 7), 0)
    retention = Retention(store.connections, ArchiveStorage(str(folder / "archive")), folder / "scratch", policy)
    beside = Beside(store, names, last)
    lines: list[tuple[object, ...]] = []
    with beside.at_work():
        (done,) = retention.compact(NOW, progress=lambda text: None)
    lines.append(("compaction, beside reader and writer", f"{done.seconds:.1f}", f"{rows / done.seconds:,.0f}",
                  f"{done.switch_seconds * 1000:.0f} ms", beside.shown()))  # fmt: skip
    compact = _number(store, "SELECT pg_total_relation_size('market.ohlc_1m_2026_09')")
    for name, busy in (("archive with verification, alone", False), ("the same beside reader and writer", True)):
        began = time.monotonic()
        with beside.at_work() if busy else nullcontext():
            (one,) = retention.run(NOW, progress=lambda text: None).archived
        whole = time.monotonic() - began
        switched = f"{one.switch_seconds * 1000:.0f} ms, drop {one.drop_seconds * 1000:.0f} ms"
        lines.append((name, f"{one.export_seconds:.2f} (run {whole:.2f})", f"{rows / one.export_seconds:,.0f}",
                      switched, beside.shown() if busy else "–"))  # fmt: skip
        (file,) = store.archive.files("bars", Timeframe.M1)
        began = time.monotonic()
        parquet.verify(folder / "archive" / file.path, "bars", file.sha256, rows=file.rows)
        checked = time.monotonic() - began
        lines.append(("  of which reading back", f"{checked:.2f}", f"{rows / checked:,.0f}", "–", "–"))
        began = time.monotonic()
        found = store.reader.read(names[:1], Timeframe.M1, MONTH, NEXT)
        took = time.monotonic() - began
        lines.append((f"  {found.height:,} rows of one instrument read from it", f"{took:.3f}", "–", "–", "–"))
        began = time.monotonic()
        restore.restore(store.connections, store.archive.files(None, Timeframe.M1), timedelta(0))
        took = time.monotonic() - began
        lines.append(("  restore", f"{took:.1f}", f"{rows / took:,.0f}", "–", "–"))
    print(
        f"{rows:,} bars; table with its key {size / 2**20:,.0f} MiB as it came, {compact / 2**20:,.0f} in order; "
        f"Parquet {one.bytes / 2**20:,.0f} MiB, 1/{compact / one.bytes:.1f} of it ({one.bytes / rows:.1f} bytes a bar)"
    )
    table(["what", "seconds", "rows/s", "others of the month kept out", "slowest read / write beside"], lines)


def _number(store: Store, query: str) -> int:
    with store.connections.transaction() as connection:
        row = connection.execute(query).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return int(row[0])


if __name__ == "__main__":
    main()
