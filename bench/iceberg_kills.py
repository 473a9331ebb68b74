"""SIGKILLs of the Iceberg tables' worker and of PostgreSQL: every read has every row once, nothing is left.

    python bench/iceberg_kills.py [KILLS]

A worker changes the files of the mirror without end (days become a month, a month is made again, a month becomes days),
lets the tables follow, lets snapshots expire after a second, and deletes retired files. It is killed after a random
time, every fifth time PostgreSQL with it. Beside it one thread reads the table by its folder, another by the catalogue,
and each also reads again what it had opened half a second before.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg
from common import machine, start_postgres, table
from comparison.iceberg_engines import digest
from pyiceberg.table import StaticTable, Table

from crypto_pipeline.lake.iceberg.catalogue import open_catalogue
from crypto_pipeline.lake.iceberg.snapshots import own_files
from crypto_pipeline.lake.iceberg.tables import IcebergTables
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import EmbeddedServer, Store, StoreError, migrate
from crypto_pipeline.store.archive.catalogue import sha256
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.parquet import ParquetOut
from crypto_pipeline.store.archive.rows import BAR_FILE
from crypto_pipeline.store.mirror import catalogue
from crypto_pipeline.store.mirror.datasets import FileSpan, MirrorSeries
from crypto_pipeline_tests.builders.bars import add_symbols, series

BARS = "market.bars_1m"
MARCH = date(2025, 3, 1)
DAYS = 4
KEEP = timedelta(seconds=1)
OF = MirrorSeries.of_bars(Timeframe.M1)


def frame() -> pl.DataFrame:
    start = datetime(MARCH.year, MARCH.month, MARCH.day, tzinfo=UTC)
    parts = [series(count=200, start=start + timedelta(days=day), seed=day) for day in range(DAYS)]
    recorded = pl.lit(start).dt.cast_time_unit("us").alias("recorded_at")
    return pl.concat(parts).with_columns(recorded).select(*BAR_FILE).sort("instrument", "open_time")


class Mirror:
    """Files of one month of bars, as the mirror has them: of the month, or of its days."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self._rows = store, frame()
        self._ids = store.instruments.ids()
        self.storage = ArchiveStorage(str(folder / "mirror"))
        self._scratch = folder / "scratch"
        self._scratch.mkdir(exist_ok=True)

    def change(self, daily: bool) -> None:
        """Switch to new files, of each day or of the month, in one transaction."""
        first = [MARCH + timedelta(days=day) for day in range(DAYS)]
        spans = [FileSpan(OF, None, day, day + timedelta(days=1)) for day in first] if daily else []
        made = [self._file(span) for span in spans or [FileSpan(OF, None, MARCH, date(2025, 4, 1))]]

        def switch(connection: psycopg.Connection[object]) -> None:
            for span, number, cells in made:
                catalogue.switch(connection, span, number, cells)
                connection.execute("TRUNCATE pg_temp.mirrored_cells")  # else emptied by the commit

        self._store.connections.run(switch)

    def _file(self, span: FileSpan) -> tuple[FileSpan, int, pl.DataFrame]:
        day = pl.col("open_time").dt.date()
        rows = self._rows.filter((day >= span.first_day) & (day < span.end_day))
        run = self._store.connections.run
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            path = Path(folder) / "rows.parquet"
            with ParquetOut(path, "bars") as out:
                out.add(rows)
            place = f"{span.first_day}-{time.time_ns()}.parquet"
            content = (rows.height, path.stat().st_size, sha256(path), None)
            number = run(catalogue.add, span, (self.storage.url, place), content)
            self.storage.put(place, path)
        run(catalogue.mark_verified, number)
        number_of = pl.col("instrument").replace_strict(self._ids, return_dtype=pl.Int32).alias("instrument_id")
        cells = rows.group_by(number_of, day.alias("day")).agg(pl.len().cast(pl.Int32).alias("rows"))
        return span, number, cells.with_columns(version=pl.lit(1, pl.Int64)).sort("instrument_id", "day")

    def remove_retired(self) -> None:
        for file in self._store.connections.run(catalogue.removable, 0.0):
            self.storage.delete(file.path)
            self._store.connections.run(catalogue.forget, file.file_id)


def worker(url: str, folder: Path) -> None:
    """Change, follow, expire, delete, without end."""
    store = Store(url)
    mirror, tables = Mirror(store, folder), IcebergTables(store.connections, str(folder / "iceberg"), KEEP)
    print("ready", flush=True)
    while True:
        try:
            store.connections.run(catalogue.abandon)
            tables.follow(lambda text: None)
            mirror.remove_retired()
            mirror.change(random.random() < 0.5)
            tables.follow(lambda text: None)
            mirror.remove_retired()
        except StoreError:  # PostgreSQL was killed under the catalogue's own connection
            time.sleep(0.1)


class Reader(threading.Thread):
    """Reads the table again and again; ``wrong`` says what was not as it must be."""

    def __init__(self, url: str | None, folder: str, expected: str) -> None:
        super().__init__(daemon=True)
        self._url, self._folder, self._expected = url, folder, expected
        self.reads, self.wrong, self.ended = 0, [], threading.Event()

    def _open(self) -> Table | None:
        if self._url is None:
            return StaticTable.from_metadata(self._folder)
        try:
            with open_catalogue(self._url) as opened:
                return opened.load_table(BARS)
        except StoreError:
            return None  # PostgreSQL is away

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                opened = self._open()
                for pause in (0.0, 0.4):
                    self.ended.wait(pause)
                    if opened is not None and digest(opened.scan().to_arrow()) != self._expected:
                        self.wrong.append(f"read {self.reads}: other rows")
                    self.reads += opened is not None
            except Exception as error:
                self.wrong.append(f"read {self.reads}: {type(error).__name__} {error}")


def left_over(store: Store, mirror: Mirror, tables: IcebergTables, folder: Path) -> dict[str, int]:
    """What is there and nobody needs, after one undisturbed run (what is young stays an hour, so it is made old)."""
    home = Path(folder) / "iceberg/market/bars_1m/metadata"
    time.sleep(KEEP.total_seconds())
    for file in home.iterdir():
        os.utime(file, (0, 0))
    store.connections.run(catalogue.abandon)
    for _ in range(2):  # what the first run replaces, the second lets go
        tables.follow(lambda text: None)
        time.sleep(KEEP.total_seconds())
    tables.follow(lambda text: None)
    mirror.remove_retired()
    with open_catalogue(store.connections.url) as opened:
        needed = {Path(place).name for place in own_files(opened.load_table(BARS))} | {"version-hint.text"}
    files = {file.path for file in store.connections.run(catalogue.find)}
    return {
        "metadata files": len({file.name for file in home.iterdir()} ^ needed),
        "files of the mirror": len({path for path in mirror.storage.paths() if path.endswith(".parquet")} ^ files),
    }


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(machine() + "\n")
    folder = Path(tempfile.mkdtemp(prefix="cp-ice-"))
    folder.chmod(0o755)
    server = EmbeddedServer(folder)
    server.prepare()
    postgres = start_postgres(server, folder)
    migrate(server.url())
    with Store(server.url()) as store:
        add_symbols(store)
        mirror, tables = Mirror(store, folder), IcebergTables(store.connections, str(folder / "iceberg"), KEEP)
        mirror.change(daily=True)
        tables.follow(lambda text: None)
        expected = digest(frame().to_arrow())
        home = f"file://{folder}/iceberg/market/bars_1m"
        readers = [Reader(None, home, expected), Reader(server.url(), home, expected)]
        for reader in readers:
            reader.start()
        for number in range(kills):
            process = subprocess.Popen(
                [sys.executable, __file__, "--worker", server.url(), folder], stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(random.uniform(0.0, 2.0))
            if number % 5 == 4:
                postgres.kill()
                postgres.wait()
            process.kill()
            process.wait()
            if number % 5 == 4:
                postgres = start_postgres(server, folder)
        for reader in readers:
            reader.ended.set()
            reader.join()
        left = left_over(store, mirror, tables, folder)
        with open_catalogue(server.url()) as opened:
            last = digest(opened.load_table(BARS).scan().to_arrow()) == expected
    postgres.terminate()
    postgres.wait()
    shutil.rmtree(folder, ignore_errors=True)
    wrong = [text for reader in readers for text in reader.wrong]
    head = ["kills", "of PostgreSQL too", "reads by folder", "by catalogue", "wrong", "rows at the end", *left]
    done = [kills, kills // 5, *(reader.reads for reader in readers), len(wrong), "right" if last else "WRONG"]
    table(head, [[*done, *left.values()]])
    print("\n".join(wrong[:10]))
    sys.exit(bool(wrong) or not last or any(left.values()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], Path(sys.argv[3]))
    main()
