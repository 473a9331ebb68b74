"""SIGKILLs of the mirror and of PostgreSQL while bars are corrected: no wrong read at any moment, nothing left behind.

    python bench/mirror_kills.py [KILLS]

A store of four instruments and a day and a half of 1m bars is mirrored by a process that is killed at a random moment;
every fourth time PostgreSQL is killed instead. Between the kills bars are corrected, and every day that the catalogue
calls fresh is compared with the table. At the end one run completes the mirror, and no file is there that the
catalogue does not know.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from bench.common import machine
from crypto_pipeline.lake.mirror.maker import MirrorMaker
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import EmbeddedServer, Store, StoreError, migrate
from crypto_pipeline.store.archive.object_store import ArchiveStorage, scan_source
from crypto_pipeline.store.archive.rows import BAR_FILE
from crypto_pipeline.store.mirror import catalogue
from crypto_pipeline_tests.builders.bars import SYMBOLS, add_symbols, bar, frame, series

FIRST, NOW = datetime(2025, 3, 29, tzinfo=UTC), datetime(2025, 4, 1, 0, 30, tzinfo=UTC)
FRESH = """
SELECT d.instrument_id, d.day, f.base_url || '/' || f.path FROM lake.days d JOIN lake.files f USING (file_id)
JOIN market.coverage c ON c.instrument_id = d.instrument_id AND c.day = d.day AND c.timeframe = d.series
    AND c.data_version = d.version AND c.present = d.rows
WHERE d.dataset = 'bars' AND d.series = '1m'
"""


def wrong_days(store: Store) -> int:
    """Days that the catalogue calls fresh and whose file differs from the table."""
    names, wrong = store.symbols.names(), 0
    for number, day, url in store.connections.rows(FRESH):
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        there = store.reader.read(
            [names[number]], Timeframe.M1, begin, begin + timedelta(days=1), columns=list(BAR_FILE)
        )
        inside = (pl.col("instrument") == names[number]) & (pl.col("open_time").dt.date() == day)
        wrong += not pl.read_parquet(scan_source(url)).filter(inside).select(*BAR_FILE).equals(there)
    return wrong


def maker_of(store: Store, folder: Path) -> MirrorMaker:
    return MirrorMaker(store, ArchiveStorage(str(folder / "mirror")), folder / "scratch")


def work(url: str, folder: Path) -> None:
    with Store(url) as store:
        while True:
            try:
                maker_of(store, folder).run(NOW)
            except StoreError:
                time.sleep(0.05)


def main(kills: int) -> None:
    rng = random.Random(1)
    print(machine())
    wrong = looked = 0
    with tempfile.TemporaryDirectory() as place, EmbeddedServer(Path(place) / "db").running() as url:
        folder = Path(place)
        migrate(url)
        with Store(url) as store:
            add_symbols(store)
            store.bars.write(series(count=2160, start=FIRST), Timeframe.M1)
            for number in range(kills):
                moment = FIRST + timedelta(minutes=rng.randrange(2160))
                healed = bar(rng.choice(SYMBOLS), moment, price=50.0 + number, revision=NOW + timedelta(minutes=number))
                store.bars.write(frame([healed]), Timeframe.M1)
                process = subprocess.Popen([sys.executable, __file__, "--work", url, place])
                time.sleep(1.2 + 1.2 * rng.random())
                if number % 4 == 3:
                    (pid,) = store.connections.row(
                        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
                    )
                    os.kill(pid, signal.SIGKILL)
                process.kill()
                process.wait()
                looked += 1
                wrong += wrong_days(store)
            time.sleep(4)  # the server lets go of the lock of the last one
            maker_of(store, folder).run(NOW)
            maker_of(store, folder)._remove(0)
            wrong += wrong_days(store)
            fresh = len(store.connections.rows(FRESH))
            known = store.connections.run(catalogue.paths, maker_of(store, folder)._storage.url)
            files = {path for path in maker_of(store, folder)._storage.paths() if path.endswith(".parquet")}
    print(f"{kills} kills, {looked} comparisons: {wrong} wrong days; {fresh} fresh days at the end;")
    print(f"{len(files - known)} files that the catalogue does not know, {len(known - files)} that are missing")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], Path(sys.argv[3]))
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
