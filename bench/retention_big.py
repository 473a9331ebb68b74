"""Retention of a store of 51 million bars with the product's policy, while a reader and a writer work.

    python bench/retention_big.py COPY [--alone]

COPY is a copy of a folder of ``big_store.py`` (its rows leave it; how to copy it is said there). Told are what left and
what became of it, seconds of each step, what others waited at most, disk use before and after, and whether all that is
kept reads as before: every bar of every timeframe, to the last digit, and every coverage cell counts what there is.
"""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from archive import Beside
from common import MISCOUNTED, machine, table

from crypto_pipeline.healing.plan import retention_policy
from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import month_number, month_start
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import EmbeddedServer, Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention, RetentionReport


def number(store: Store, query: str) -> int:
    with store.connections.transaction() as connection:
        row = connection.execute(query).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return int(row[0])


def seen(
    store: Store, names: list[str], retention: Retention, now: datetime, until: datetime
) -> dict[Timeframe, tuple[int, int]]:
    """Rows and a hash of all kept bars per timeframe, from reads of some instruments at a time."""
    found = {}
    for timeframe in Timeframe:
        kept = retention.policy.kept_start(timeframe, now)
        begin = datetime(2000, 1, 1, tzinfo=UTC) if kept is None else month_start(month_number(kept))
        rows, total = 0, 0
        for start in range(0, len(names), 5):
            bars = store.reader.read(names[start : start + 5], timeframe, begin, until)
            rows += bars.height
            total += int(bars.hash_rows(seed=1).sum()) if bars.height else 0
        found[timeframe] = (rows, total & (1 << 64) - 1)
    return found


def disk(folder: Path) -> tuple[float, float]:
    """MiB of the server's files without its log of writes, and of the archive."""
    data = [path for path in (folder / "postgres/data").rglob("*") if path.is_file() and "pg_wal" not in path.parts]
    files = [path for path in (folder / "archive").rglob("*") if path.is_file()]
    return tuple(sum(path.stat().st_size for path in group) / 2**20 for group in (data, files))  # type: ignore[return-value]


def told(report: RetentionReport, took: float) -> None:
    lines: list[tuple[object, ...]] = [
        (one.span, f"{one.rows:,}", f"{one.bytes / 2**20:.1f}", f"{one.export_seconds:.2f}",
         f"{one.rows / one.export_seconds:,.0f}", f"{one.switch_seconds * 1000:.0f}", f"{one.drop_seconds * 1000:.0f}")
        for one in report.archived
    ]  # fmt: skip
    lines += [(one.span, f"{one.rows:,} dropped", "–", "–", "–", "–", "–") for one in report.dropped]
    table(["span", "rows", "MiB", "archived in s", "rows/s", "switch ms", "drop ms"], lines)
    rows, seconds = (sum(getattr(one, name) for one in report.archived) for name in ("rows", "export_seconds"))
    print(f"{rows:,} rows archived and read back in {seconds:.1f} s: {rows / seconds:,.0f}/s; "
          f"{sum(one.rows for one in report.dropped):,} dropped; {took:.1f} s in all")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--alone", action="store_true", help="without reader and writer")
    options = parser.parse_args()
    print(machine())
    now = datetime.now(UTC)
    with EmbeddedServer(options.folder).running() as url, Store(url) as store:
        retention = Retention(
            store.connections,
            ArchiveStorage(str(options.folder / "archive")),
            options.folder / "scratch",
            retention_policy(Settings()),
        )
        names = sorted(store.instruments.ids())
        newest = (
            store.reader.latest(names, Timeframe.M1).select(*BAR_SCHEMA).with_columns(pl.lit(True).alias("complete"))
        )
        last = newest["open_time"].max()
        assert isinstance(last, datetime)
        until = last + timedelta(minutes=1)
        before, size = seen(store, names, retention, now, until), disk(options.folder)
        beside = Beside(store, names, newest)
        began = time.monotonic()
        with nullcontext() if options.alone else beside.at_work():
            report = retention.run(now, progress=lambda text: print(f"  {time.monotonic() - began:6.1f} s: {text}"))
        took = time.monotonic() - began
        told(report, took)
        if not options.alone:
            print(f"slowest read / write of others beside it: {beside.shown()}")
        after = seen(store, names, retention, now, until)
        for timeframe, found in before.items():
            assert after[timeframe] == found, (timeframe, found, after[timeframe])
        assert number(store, MISCOUNTED) == 0, "a cell counts other bars than there are"
        assert retention.run(now, progress=lambda text: None).as_dict()["archived_spans"] == 0
        with store.connections.transaction() as connection:
            connection.execute("CHECKPOINT")
        smaller = disk(options.folder)
        print(
            f"tables and indexes {size[0]:,.0f} → {smaller[0]:,.0f} MiB, archive {smaller[1]:,.0f} MiB; "
            f"{sum(rows for rows, _ in before.values()):,} kept bars read as before; every cell counts what there is"
        )


if __name__ == "__main__":
    main()
