"""Speed of reads of bars into a Polars frame, compared with other formats and libraries.

    python bench/reads.py BIG [SMALL] [--archived COPY [SMALL_COPY]] [--plot PNG]
    python bench/reads.py BIG --others

BIG is a folder of `bench/big_store.py` (51 million rows), SMALL one with ``--fine-days 20`` (5 million), COPY one of
which four months of 1m were archived (``python bench/reads.py COPY --archive-first 4`` does that, once, and changes the
folder), SMALL_COPY the same of 10 instruments (``--instruments 10``). ``--others`` reads the same answers through
SQLAlchemy and pandas.read_sql from the same server, and from feather files (one per instrument and timeframe, as
freqtrade keeps them) and Parquet through DuckDB, on the same disk.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from common import machine, table

from crypto_pipeline import Reader
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import EmbeddedServer, Store, migrate
from crypto_pipeline.store.archive.archiver import Archiver
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.partitions.span import Span

DAY = timedelta(days=1)
OHLCV = ["instrument", "open_time", "open", "high", "low", "close", "volume"]
Ask = tuple[str, list[str], str, dict[str, Any], int, str]


def names(count: int = 90) -> list[str]:
    return [f"A{number:03d}-USDT" for number in range(count)]


def asks(end: datetime) -> list[Ask]:
    """A read, its number of repetitions, and its goal (p50 / p99, ms)."""
    return [
        ("latest of 90 instruments", names(), "1m", {"last": 1}, 300, "3 / 10"),
        ("60 bars of 1m, one instrument", names(1), "1m", {"last": 60}, 300, ""),
        ("24 h of 1m, one instrument", names(1), "1m", {"start": end - DAY, "end": end}, 300, "4 / 15"),
        ("7 d of 15m × 8 instruments", names(8), "15m", {"start": end - 7 * DAY, "end": end}, 200, "8"),
        ("180 d of 1h, one instrument", names(1), "1h", {"start": end - 180 * DAY, "end": end}, 200, "8"),
        ("one day of 1m × 90 instruments", names(), "1m", {"start": end - DAY, "end": end}, 30, "110"),
    ]


def times(work: Callable[[], Any], count: int) -> tuple[list[float], int]:
    """Sorted milliseconds of ``count`` calls, after some to warm up, and the rows that came."""
    rows = 0
    for _ in range(min(count, 8)):
        answer = work()
        rows = len(getattr(answer, "value", answer))
    measured = []
    for _ in range(count):
        begin = time.perf_counter()
        work()
        measured.append((time.perf_counter() - begin) * 1000)
    return sorted(measured), rows


def quantile(measured: list[float], share: float) -> float:
    return measured[min(len(measured) - 1, int(len(measured) * share))]


def shown(measured: list[float]) -> str:
    return f"{quantile(measured, 0.5):.2f} / {quantile(measured, 0.99):.2f}"


def last_midnight(folder: Path) -> datetime:
    end = datetime.fromisoformat(json.loads((folder / "big_store.json").read_text())["end"])
    return Timeframe.D1.floor(end)


def archived_asks(end: datetime) -> list[Ask]:
    """The reads of a store with four archived months."""
    span = {"start": end - 180 * DAY, "end": end}
    return [
        ("180 d of 1m, one, four months archived", names(1), "1m", span, 25, "250"),
        ("the same, OHLCV alone", names(1), "1m", {**span, "columns": OHLCV}, 25, ""),
    ]


def measure(folders: Sequence[Path], what: Callable[[datetime], list[Ask]], found: dict[str, list[Any]]) -> None:
    for folder in folders:
        with EmbeddedServer(folder).running() as url, Reader(url) as reader:
            migrate(url)
            total = sum(reader.store.coverage.summary()["present"])
            for name, instruments, timeframe, span, count, goal in what(last_midnight(folder)):
                plain, rows = times(partial(reader.bars, instruments, timeframe, **span), count)
                reader.cached.bars(instruments, timeframe, **span)
                reader.cached.await_changes()
                cached, _ = times(partial(reader.cached.bars, instruments, timeframe, **span), 1000)
                found.setdefault(name, [goal]).append((total, rows, plain, cached))


def latencies(folders: Sequence[Path], archived: Sequence[Path], picture: Path | None = None) -> None:
    """All reads on all folders."""
    found: dict[str, list[Any]] = {}
    measure(folders, asks, found)
    measure(archived, archived_asks, found)
    lines = []
    for name, (goal, *each) in found.items():
        (total, rows, plain, cached), *smaller = each
        kept = f"{quantile(cached, 0.5):.3f} / {quantile(cached, 0.99):.3f}"
        line: list[object] = [name, goal, f"{rows:,}", f"{shown(plain)} ({total / 1e6:.1f}M)"]
        for less, _, other, _ in smaller:
            line += [f"{shown(other)} ({less / 1e6:.1f}M)", f"{quantile(plain, 0.5) / quantile(other, 0.5):.2f}"]
        lines.append([*line, kept])
    growth = ["p50 / p99 ms, small store", "growth"] if len(each) == 2 else []
    table(["question", "goal ms", "rows", "p50 / p99 ms", *growth, "through the cache"], lines)
    if picture is not None:
        draw(found, picture)


def draw(found: dict[str, list[Any]], picture: Path) -> None:
    """The medians, side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5.2))
    for place, (goal, *each) in enumerate(reversed(found.values())):
        limit = float(goal.split(" /")[0]) if goal else 0.0
        for number, (total, _, plain, _) in enumerate(sorted(each, key=lambda one: one[0])):
            height = place + 0.2 - 0.4 * number
            median = quantile(plain, 0.5)
            axes.barh(height, median, 0.36, color=("#9ecae1", "#3182bd")[number])
            axes.text(
                max(median, limit) * 1.08,
                height,
                f"{median:.2f} ms of {total / 1e6:.1f}M rows",
                va="center",
                fontsize=8,
            )
        if goal:
            axes.plot([limit, limit], [place - 0.42, place + 0.42], color="#d62728", linewidth=1.5)
    axes.set_yticks(range(len(found)), list(reversed(found)))
    axes.set_xscale("log")
    axes.set_xlim(right=1500)
    axes.set_xlabel("milliseconds end to end into a Polars frame, median (log); red: goal")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(picture, dpi=130)


def archive_first(folder: Path, count: int) -> None:
    """Archive the first months of 1m, once."""
    with EmbeddedServer(folder).running() as url, Store(url) as store:
        migrate(url)
        storage = ArchiveStorage(str(folder / "archive"))
        archiver = Archiver(store.connections, storage, folder / "scratch")
        end = last_midnight(folder) - 180 * DAY
        month = (end.year - 1970) * 12 + end.month - 1
        for number in range(count):
            print(archiver.archive(Span.month(Timeframe.M1, month + number), 0), flush=True)


def others(folder: Path) -> None:
    """The same answers by other ways; as columns OHLCV, which all of them keep."""
    import duckdb
    import pandas as pd
    from sqlalchemy import create_engine, text

    with EmbeddedServer(folder).running() as url, Reader(url) as reader, tempfile.TemporaryDirectory() as scratch:
        end = last_midnight(folder)
        span = {"start": end - DAY, "end": end}
        long = {"start": end - 180 * DAY, "end": end}
        questions = [
            ("24 h of 1m, one", names(1), "1m", span),
            ("180 d of 1h, one", names(1), "1h", long),
            ("one day of 1m × 90", names(), "1m", span),
            ("180 d of 1m, one", names(1), "1m", long),
        ]
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        sql = text(
            "SELECT symbol AS instrument, open_time, open, high, low, close, volume FROM market.ohlc "
            "WHERE symbol = ANY(:names) AND timeframe = :timeframe AND open_time >= :start AND open_time < :end "
            "ORDER BY symbol, open_time"
        )
        connection = engine.connect()
        files = Path(scratch)
        keep_files(reader, files, end)
        duck = duckdb.connect()

        def by_pandas(chosen: list[str], timeframe: str, when: dict[str, Any]) -> Any:
            return pd.read_sql(sql, connection, params={"names": chosen, "timeframe": timeframe, **when})

        def by_feather(chosen: list[str], timeframe: str, when: dict[str, Any]) -> Any:
            parts = []
            for name in chosen:
                frame = pd.read_feather(files / f"{name}-{timeframe}.feather")
                parts.append(frame[(frame["open_time"] >= when["start"]) & (frame["open_time"] < when["end"])])
            return pd.concat(parts)

        def by_duckdb(chosen: list[str], timeframe: str, when: dict[str, Any]) -> Any:
            return duck.sql(
                f"SELECT * FROM read_parquet('{files}/{timeframe}/*.parquet') WHERE instrument IN "
                f"({','.join('?' * len(chosen))}) AND open_time >= ? AND open_time < ? ORDER BY instrument, open_time",
                params=[*chosen, when["start"], when["end"]],
            ).pl()

        lines = []
        for name, chosen, timeframe, when in questions:
            count = 5 if "180 d of 1m" in name or "× 90" in name else 40
            ours, rows = times(partial(reader.bars, chosen, timeframe, columns=OHLCV, **when), count)
            every, _ = times(partial(reader.bars, chosen, timeframe, **when), count)
            line = [name, f"{rows:,}", f"{quantile(ours, 0.5):.1f}", f"{quantile(every, 0.5):.1f}"]
            for way in (by_pandas, by_feather, by_duckdb):
                measured, same = times(partial(way, chosen, timeframe, when), count)
                assert same == rows, f"{way.__name__} says {same} rows to {name}, we {rows}"
                took = quantile(measured, 0.5)
                line.append(f"{took:.1f} ({took / quantile(ours, 0.5):.1f}×)")
            lines.append(line)
        head = ["question", "rows", "ours, OHLCV", "ours, all 15 columns", "SQLAlchemy + pandas.read_sql"]
        table([*head, "feather files", "DuckDB on Parquet"], lines)
        connection.close()


def keep_files(reader: Reader, folder: Path, end: datetime) -> None:
    """180 days of 1m and 1h: feather per instrument, and Parquet per timeframe sorted by instrument and time."""
    for timeframe, days in (("1m", 180), ("1h", 180)):
        (folder / timeframe).mkdir()
        for name in names():
            start = end - (days if name == names(1)[0] or timeframe == "1h" else 30) * DAY
            frame = reader.bars(name, timeframe, start=start, end=end, columns=OHLCV)
            frame.to_pandas().to_feather(folder / f"{name}-{timeframe}.feather", compression="lz4")
            frame.write_parquet(folder / timeframe / f"{name}.parquet", compression="zstd", row_group_size=50_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("small", type=Path, nargs="?")
    parser.add_argument("--archived", type=Path, nargs="+", default=[])
    parser.add_argument("--archive-first", type=int, metavar="MONTHS")
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--plot", type=Path, help="PNG to draw the medians into")
    options = parser.parse_args()
    if options.archive_first:
        archive_first(options.folder, options.archive_first)
        return
    print(f"{machine()}\n")
    if options.others:
        others(options.folder)
        return
    latencies([options.folder, *([options.small] if options.small else [])], options.archived, options.plot)


if __name__ == "__main__":
    main()
