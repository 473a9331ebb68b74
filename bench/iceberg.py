"""Iceberg tables of mirror and archive as five engines read them: equal rows and hashes, also after every change.

    python bench/iceberg.py --engines pyiceberg=PYTHON polars=PYTHON duckdb=PYTHON chdb=PYTHON pyspark=PYTHON --jars …

Each PYTHON is an interpreter of an environment that has the engine and pyarrow (DuckDB 1.4 with duckdb-ext-iceberg and
-avro; PySpark 3.5 with Iceberg's runtime among the jars). Three months of 1m bars of the generated market are archived;
files of the mirror come beside them; a month is restored into its table, the tables are dropped and made again, and a
file with one more column comes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from common import database, machine, postgres, table
from comparison.iceberg_engines import digest

from crypto_pipeline.lake.iceberg.tables import IcebergTables
from crypto_pipeline.lake.mirror.maker import MirrorMaker
from crypto_pipeline.market.retention import Kept, RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive import restore
from crypto_pipeline.store.archive.catalogue import sha256
from crypto_pipeline.store.archive.object_store import ArchiveStorage, scan_source
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline.store.mirror import catalogue
from crypto_pipeline_tests.builders.bars import add_symbols, series

FIRST = datetime(2026, 6, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 21, tzinfo=UTC)
BARS = "market.bars_1m"


class Bench:
    """A store with an archive, its Iceberg tables, and the engines that read them."""

    def __init__(self, store: Store, folder: Path, given: argparse.Namespace) -> None:
        self.store, self._given = store, given
        bars = dict.fromkeys(Timeframe, Kept(None, None)) | {Timeframe.M1: Kept(30, None)}
        storage = ArchiveStorage(str(folder / "archive"))
        policy = RetentionPolicy(bars, Kept(7, 7), 0)
        self.retention = Retention(store.connections, storage, folder / "scratch", policy)
        self.tables = IcebergTables(store.connections, str(folder / "iceberg"))
        self.mirror = MirrorMaker(store, ArchiveStorage(str(folder / "mirror")), folder / "scratch-mirror")
        self.rows: list[list[object]] = []

    def expected(self) -> tuple[int, str]:
        """Rows and hash of the files of archive and mirror, without Iceberg."""
        mirrored = self.store.connections.run(catalogue.find)
        paths = [scan_source(file.url) for file in [*self.store.archive.files("bars", Timeframe.M1), *mirrored]]
        frame = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in paths], how="diagonal")
        return frame.height, digest(frame.to_arrow())

    def compare(self, step: str) -> None:
        """Follow, let every engine read, and add a row per engine."""
        began = time.monotonic()
        done = {str(one.name): one for one in self.tables.follow(lambda text: None)}[BARS]
        followed = time.monotonic() - began
        rows, hashed = self.expected()
        self.rows.append([step, "files themselves", f"{rows:,}", hashed[:12], f"{followed:.2f} (follow)"])
        location = done.metadata_location.rpartition("/metadata/")[0]
        for engine, python in (one.split("=", 1) for one in self._given.engines):
            asked = {"engine": engine, "tables": [{"location": location, "metadata": done.metadata_location}]}
            got, seen, seconds = self._asked(python, asked | {"jars": self._given.jars})
            same = "equal" if (got, seen) == (rows, hashed) else f"**DIFFERENT**: {got:,} rows, {seen[:12]}"
            self.rows.append([step, engine, f"{got:,}", same, f"{seconds:.2f}"])

    def _asked(self, python: str, asked: dict[str, Any]) -> list[Any]:
        script = Path(__file__).parent / "comparison/iceberg_engines.py"
        done = subprocess.run([python, script], input=json.dumps(asked), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{asked['engine']}: {done.stderr[-2000:]}")
        answer: list[Any] = json.loads(done.stdout.splitlines()[-1])[0]
        return answer

    def one_more_column(self) -> None:
        """The newest file is replaced by one with another column, as a later version of this program would write."""
        file = self.store.archive.files("bars", Timeframe.M1)[-1]
        place = Path(file.url.removeprefix("file://"))
        new = place.with_name(f"more-{place.name}")
        frame = pl.read_parquet(place, hive_partitioning=False)
        frame.with_columns(taker_quote_volume=pl.col("quote_volume") / 3).write_parquet(new)
        values = [file.path.replace(place.name, new.name), sha256(new), new.stat().st_size, file.archive_id]
        statement = "UPDATE market.archive_files SET path = %s, sha256 = %s, bytes = %s WHERE archive_id = %s"
        self.store.connections.run(lambda connection: connection.execute(statement, values) and None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--jars", nargs="*", default=[])
    parser.add_argument("--minutes", type=int, default=30_000, help="bars of each of 4 instruments and 3 months")
    given = parser.parse_args()
    print(machine() + "\n")
    folder = tempfile.TemporaryDirectory(prefix="cp-iceberg-")
    with postgres() as server, folder as place, database(server, "iceberg") as url, Store(url) as store:
        bench = Bench(store, Path(place), given)
        add_symbols(store)
        for month in range(3):
            start = FIRST.replace(month=FIRST.month + month)
            store.bars.write(series(count=given.minutes, start=start, seed=month), Timeframe.M1)
            changed = series(count=500, start=start, seed=9, revised=timedelta(days=1))
            store.bars.write(changed, Timeframe.M1)
        bench.retention.run(NOW, lambda text: None)
        bench.compare("archived")
        for start in (FIRST.replace(month=10), NOW - timedelta(days=3, hours=12)):
            store.bars.write(series(count=given.minutes, start=start, seed=7), Timeframe.M1)
        bench.mirror.run(NOW, progress=lambda text: None)
        bench.compare("files of the mirror beside them")
        july = store.archive.files(None, Timeframe.M1, FIRST.replace(month=7), FIRST.replace(month=8))
        restore.restore(store.connections, july, timedelta(0))
        bench.compare("July restored into its table")
        bench.tables.drop()
        bench.compare("dropped and made again")
        bench.one_more_column()
        bench.compare("a file with one more column")
        table(["after", "reader", "rows", "hash", "s"], bench.rows)


if __name__ == "__main__":
    main()
