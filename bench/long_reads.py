"""Long reads through the mirror, beside ArcticDB on LMDB, DuckDB on Parquet, feather files, and the table alone.

    python bench/long_reads.py FOLDER [--smaller FOLDER …] [--arctic PYTHON] [--writer 5000] [--scratch FOLDER]

FOLDER was made by ``bench/big_store.py``. Its mirror is made first (FOLDER/mirror), as on the day after its last month
was closed. ``--smaller``: stores of 5 million bars with the same answers, for growth. ``--arctic``: an interpreter with
arcticdb and polars. ``--writer``: the questions again while another process writes so many rows a second. Peers read
the same bars; what is written for them lies in the scratch folder. Each figure is the median (best) of some reads in
milliseconds, end to end into a Polars frame, from a warm process.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from common import machine, table

from crypto_pipeline.lake.reads.bars import long_reads
from crypto_pipeline.lake.reads.plain import forget_kept
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading import Reader
from crypto_pipeline.store import EmbeddedServer, Store, migrate
from crypto_pipeline.store.archive.object_store import ArchiveStorage, local_path
from crypto_pipeline.store.mirror import catalogue
from crypto_pipeline.store.mirror.datasets import MirrorSeries
from crypto_pipeline.store.mirror.looks import MirrorMoment
from crypto_pipeline_tests.builders.mirror_files import mirror_bars

DAY = timedelta(days=1)
OHLCV = ["instrument", "open_time", "open", "high", "low", "close", "volume"]
ARCTIC = Path(__file__).parent / "comparison/arcticdb_frames.py"
LONG, COPIED, NEWEST, EVERY, WIDE, ONE_DAY, LATEST, SHORT = (
    "180 d of 1m, one, OHLCV", "the same, values not kept", "its newest 100,000", "all 15 columns of it",
    "180 d of 1m × 90", "one day of 1m × 90", "latest of 90", "24 h of 1m, one",
)  # fmt: skip
#: Rows of the table.
WHATS = (LONG, COPIED, NEWEST, EVERY, WIDE, ONE_DAY, LATEST, SHORT)


@dataclass(frozen=True)
class Asked:
    """A question: instruments, span, columns (None: all), and how often it is asked."""

    what: str
    names: list[str]
    start: datetime
    end: datetime
    columns: list[str] | None
    count: int

    def answered_by(self, reader: Reader, read: Any) -> pl.DataFrame:
        if self.what == LATEST:
            return reader.latest(self.names, columns=OHLCV)
        if self.what == NEWEST:
            if read is None:
                return reader.bars(self.names, "1m", last=100_000, columns=OHLCV)
            return read.newest(self.names, Timeframe.M1, 100_000, columns=OHLCV, complete=True)
        if self.what == COPIED:
            forget_kept()
        columns = self.columns or "all"
        if read is None:
            return reader.bars(self.names, "1m", self.start, self.end, columns=columns)
        return read.read(self.names, Timeframe.M1, self.start, self.end, columns=self.columns, complete=True)


def questions(folder: Path) -> list[Asked]:
    note = json.loads((folder / "big_store.json").read_text())
    end = Timeframe.D1.floor(datetime.fromisoformat(note["end"]))
    names = [f"A{number:03d}-USDT" for number in range(note["options"]["instruments"])]
    one, long = names[:1], end - 180 * DAY
    every = [
        Asked(LONG, one, long, end, OHLCV, 31), Asked(COPIED, one, long, end, OHLCV, 31),
        Asked(NEWEST, one, long, end, OHLCV, 31), Asked(EVERY, one, long, end, None, 21),
        Asked(WIDE, names, long, end, OHLCV, 3), Asked(ONE_DAY, names, end - 20 * DAY, end - 19 * DAY, OHLCV, 21),
        Asked(LATEST, names, end, end, OHLCV, 51), Asked(SHORT, one, end - DAY, end, OHLCV, 51),
    ]  # fmt: skip
    fine = note["options"]["fine_days"]
    return [asked for asked in every if fine > 180 or (asked.end - asked.start <= DAY and asked.what != NEWEST)]


def widest(asked: list[Asked]) -> Asked:
    """The question with the most instruments and the longest span."""
    return max(asked, key=lambda one: (len(one.names), one.end - one.start))


def timed(work: Callable[[], Any], count: int) -> list[float]:
    work()
    found = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        found.append((time.perf_counter() - began) * 1000)
    return sorted(found)


def shown(found: list[float] | None) -> str:
    return "–" if not found else f"{found[len(found) // 2]:.1f} ({found[0]:.1f})"


def make_mirror(folder: Path, store: Store, now: datetime) -> None:
    storage = ArchiveStorage(str(folder / "mirror"))
    scratch = folder / "mirror-scratch"
    scratch.mkdir(exist_ok=True)
    began = time.monotonic()
    made = mirror_bars(store, scratch, MirrorSeries.of_bars(Timeframe.M1), MirrorMoment(now, storage.url))
    if made:
        print(f"{folder.name}: {len(made)} files of 1m made in {time.monotonic() - began:.0f} s", flush=True)


def ours(url: str, asked: list[Asked], *, plain: bool = False) -> dict[str, list[float]]:
    """Times of the product, or of its table alone."""
    with Reader(url) as reader:
        read = reader.store.reader if plain else None
        chosen = [one for one in asked if not (plain and one.what == WIDE)]
        return {
            one.what: timed(partial(one.answered_by, reader, read), 3 if plain and one.what != SHORT else one.count)
            for one in chosen
        }


def _peak(url: str, asked: Asked, answer: Any) -> None:
    with Reader(url) as reader:
        # what a first read loads is not the frame's
        reader.bars(asked.names[:1], "1m", asked.end - 10 * DAY, asked.end, columns=OHLCV)
        Path("/proc/self/clear_refs").write_text("5")  # the greatest use begins anew
        before = _memory("VmRSS")
        frame = reader.bars(asked.names, "1m", asked.start, asked.end, columns=OHLCV)
        peak = _memory("VmHWM")
        answer.put((frame.height, frame.estimated_size(), peak - before))


def _memory(field: str) -> int:
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(field))
    return int(line.split()[1]) * 1024


def peak(url: str, asked: Asked) -> None:
    """Memory of the widest answer, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    answer = spawn.Queue()
    process = spawn.Process(target=_peak, args=(url, asked, answer))
    process.start()
    rows, size, more = answer.get(timeout=300)
    process.join()
    took = f"peak {more / 2**20:,.0f} MiB more than before the read: {more / size:.2f} × the frame"
    print(f"\n{asked.what}: {rows:,} rows, frame {size / 2**20:,.0f} MiB, {took}", flush=True)


def sql_of_people(url: str, asked: list[Asked]) -> dict[str, list[float]]:
    """Plain SQL on the table as people write it for TimescaleDB, through ADBC into a Polars frame."""
    values = "i.symbol AS instrument, b.open_time, b.open, b.high, b.low, b.close, b.volume"
    found = {}
    for one in asked:
        if one.what not in (LONG, ONE_DAY, LATEST, SHORT):
            continue
        names = ", ".join(f"'{name}'" for name in one.names)
        of = f"FROM market.ohlc_data b JOIN market.instruments i USING (instrument_id) WHERE i.symbol IN ({names})"
        span = f"b.open_time >= '{one.start.isoformat()}' AND b.open_time < '{one.end.isoformat()}'"
        query = f"SELECT {values} {of} AND b.timeframe = '1m' AND {span} ORDER BY 1, 2"
        if one.what == LATEST:
            lately = f"b.open_time >= '{(one.end - DAY).isoformat()}'"
            query = f"SELECT DISTINCT ON (1) {values} {of} AND b.timeframe = '1m' AND {lately} ORDER BY 1, 2 DESC"
        found[one.what] = timed(lambda q=query: pl.read_database_uri(q, url, engine="adbc"), 3)  # type: ignore[misc]
    return found


def peers(url: str, folder: Path, asked: list[Asked], scratch: Path, arctic: str | None) -> dict[str, dict[str, Any]]:
    """Times of the others, on the same bars."""
    exported = scratch / "bars"
    exported.mkdir(exist_ok=True)
    first = min(one.start for one in asked)
    with Store(url) as store:
        read = long_reads(store)
        for name in widest(asked).names:
            if not (exported / f"{name}.parquet").exists():
                frame = read.read([name], Timeframe.M1, first, asked[0].end, columns=OHLCV[1:])
                frame.write_parquet(exported / f"{name}.parquet", compression="uncompressed")
    one = pl.read_parquet(exported / f"{asked[0].names[0]}.parquet")
    one.write_ipc(scratch / "one.feather", compression="lz4")
    found: dict[str, dict[str, Any]] = {"DuckDB on our files": {}, "feather (lz4)": {}, "ArcticDB": {}}
    duck = duckdb.connect()
    duck.sql("SET TimeZone = 'UTC'")
    with Store(url) as store:
        current = store.connections.run(catalogue.find, MirrorSeries.of_bars(Timeframe.M1))
    files = ", ".join(f"'{local_path(file.url)}'" for file in current)
    for question in asked:
        if question.columns is None or question.what in (LATEST, COPIED, NEWEST):
            continue
        sql = (
            f"SELECT {', '.join(OHLCV)} FROM read_parquet([{files}]) "
            f"WHERE instrument IN ({','.join('?' * len(question.names))}) AND open_time >= ? AND open_time < ? "
            "ORDER BY instrument, open_time"
        )
        values = [*question.names, question.start, question.end]
        count = 1 if question.what == WIDE else 3
        found["DuckDB on our files"][question.what] = timed(lambda s=sql, v=values: duck.sql(s, params=v).pl(), count)
    found |= {"SQL by ADBC": sql_of_people(url, asked)}
    found["feather (lz4)"][LONG] = timed(lambda: pl.read_ipc(scratch / "one.feather"), 21)
    if arctic:
        lmdb = scratch / "lmdb"
        if not lmdb.exists():
            print(subprocess.check_output([arctic, ARCTIC, "load", str(lmdb), str(exported)], text=True).strip())
        given = [
            {"what": q.what, "names": q.names, "start": q.start.isoformat(), "end": q.end.isoformat(),
             "count": min(q.count, 11), "latest": q.what == LATEST}
            for q in asked if q.columns is not None and q.what not in (COPIED, NEWEST)
        ]  # fmt: skip
        said = json.loads(
            subprocess.check_output([arctic, ARCTIC, "ask", str(lmdb)], input=json.dumps(given), text=True)
        )
        print(
            f"ArcticDB: peak {said.pop('peak_kib') / 1024:,.0f} MiB; read as { ({v['form'] for v in said.values()}) }"
        )
        found["ArcticDB"] = {what: answer["ms"] for what, answer in said.items()}
    return found


@contextmanager
def writer(url: str, rate: int, asked: Asked) -> Iterator[None]:
    """A process that writes ``rate`` rows a second of the days after the store's end; they are removed afterwards."""
    command = [sys.executable, __file__, "--write", url, str(rate), asked.end.isoformat(), ",".join(asked.names)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        process.terminate()
        process.wait()
        with Store(url) as store, store.connections.transaction() as connection:
            connection.execute("DELETE FROM market.ohlc_data WHERE timeframe = '1m' AND open_time >= %s", [asked.end])
            connection.execute("DELETE FROM market.coverage WHERE timeframe = '1m' AND day >= %s", [asked.end.date()])


def write(url: str, rate: int, start: datetime, names: list[str]) -> None:
    from crypto_pipeline_tests.builders.bars import series

    with Store(url) as store:
        count, at = rate // len(names), start
        while True:
            began = time.monotonic()
            store.bars.write(series(tuple(names), count, at), Timeframe.M1)
            at += count * Timeframe.M1.delta
            print("written", flush=True)
            time.sleep(max(0.0, 1 - (time.monotonic() - began)))


def main() -> None:
    if sys.argv[1] == "--write":
        write(sys.argv[2], int(sys.argv[3]), datetime.fromisoformat(sys.argv[4]), sys.argv[5].split(","))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--smaller", type=Path, nargs="*", default=[])
    parser.add_argument("--arctic", help="an interpreter with arcticdb and polars")
    parser.add_argument("--writer", type=int, default=0)
    parser.add_argument("--scratch", type=Path)
    options = parser.parse_args()
    print(f"{machine()}\n", flush=True)
    columns: dict[str, dict[str, Any]] = {}
    for folder in [*options.smaller, options.folder]:
        asked = questions(folder)
        with EmbeddedServer(folder).running() as url:
            migrate(url)
            with Store(url) as store:
                make_mirror(folder, store, asked[-1].end + 2 * DAY)
                rows = sum(store.coverage.summary()["present"])
                files = store.connections.run(catalogue.find, MirrorSeries.of_bars(Timeframe.M1))
            print(f"{folder.name}: {sum(one.bytes for one in files) / sum(one.rows for one in files):.1f} bytes a bar")
            ours(url, asked)  # a server that has just started reads its own files first
            columns[f"ours, {rows / 1e6:.1f}M"] = ours(url, asked)
            if folder != options.folder:
                continue
            with tempfile.TemporaryDirectory() as made:
                columns |= peers(url, folder, asked, options.scratch or Path(made), options.arctic)
            columns["the table alone"] = ours(url, asked, plain=True)
            if options.writer:
                with writer(url, options.writer, widest(asked)):
                    columns[f"ours, beside {options.writer:,} rows/s"] = ours(url, asked)
            peak(url, widest(asked))
    print()
    table(["question", *columns], [[what, *(shown(each.get(what)) for each in columns.values())] for what in WHATS])
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
