"""SIGKILLs of the mirror's worker and of PostgreSQL while bars are corrected: no wrong read at any moment.

    python bench/mirror_kills.py [--kills 200]

Four instruments have four days of 1m bars. A worker makes the mirror without end (as of moments at which a month is
settled or is not, so files of days become files of months and days again), lets Iceberg tables follow and snapshots
expire, archives a month and restores it, and deletes retired files. It is killed after a random time, every fourth time
PostgreSQL with it. Beside it bars are corrected: each correction changes a mirrored bar and one of the running day of
every instrument in one transaction. Another process reads all of it through ``Reader``, as of now and as of past
moments: each answer must be the whole truth after one correction, and no other one than was known then.

At the end a byte of a file is flipped: the read takes the table, the check names the file, the next run makes it again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from common import load, machine, table

from bench.iceberg_kills import start_postgres
from crypto_pipeline.lake.iceberg.tables import IcebergTables
from crypto_pipeline.lake.mirror import writer
from crypto_pipeline.lake.mirror.maker import MirrorMaker
from crypto_pipeline.lake.reads import files, mirrored
from crypto_pipeline.market.retention import Kept, RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.housekeeping.mirror import make_mirror, prove_mirror
from crypto_pipeline.reading import Reader
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import EmbeddedServer, Store, StoreError, migrate
from crypto_pipeline.store.archive import restore
from crypto_pipeline.store.archive.object_store import ArchiveStorage, local_path
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline.store.mirror import catalogue
from crypto_pipeline.store.partitions.span import Span
from crypto_pipeline_tests.builders.bars import SYMBOLS, add_symbols, bar, frame, series

M1, DAY = Timeframe.M1, timedelta(days=1)
FEBRUARY, MARCH, END = (
    datetime(2025, 2, 27, tzinfo=UTC),
    datetime(2025, 3, 30, tzinfo=UTC),
    datetime(2025, 4, 3, tzinfo=UTC),
)
MONTH = Span.month(M1, (2025 - 1970) * 12 + 1)
#: The bars that every correction changes: one that is mirrored, one of the running day. A transaction is of one month.
CORRECTED = (MARCH + timedelta(hours=7), MARCH + timedelta(hours=30))
MOMENTS = [datetime(2025, 3, 31, 12, 30, tzinfo=UTC), datetime(2025, 4, 2, 0, 30, tzinfo=UTC)]
_LONG_AGO = "UPDATE market.archive_files SET retired_at = now() - interval '9 days' WHERE status = 'retired'"
STAGES = ("make", "switch", "iceberg", "archive", "restore", "remove")


def note(file: Path, text: str) -> None:
    """Write a file that others read meanwhile."""
    new = file.with_name(f"{file.name}.{threading.get_native_id()}")
    new.write_text(text)
    new.replace(file)


def retention_of(store: Store, folder: Path) -> Retention:
    policy = RetentionPolicy(dict.fromkeys(Timeframe, Kept(None, None)), Kept(7, 7), 0)
    return Retention(store.connections, ArchiveStorage(str(folder / "archive")), folder / "retention", policy)


def maker_of(store: Store, folder: Path) -> MirrorMaker:
    return MirrorMaker(store, ArchiveStorage(str(folder / "mirror")), folder / "scratch" / "mirror")


class Worker:
    """What is killed. ``stage`` is where its file says what it does."""

    def __init__(self, url: str, folder: Path) -> None:
        self.store, self.folder, self.stage = Store(url), folder, folder / "stage"
        self.maker, self.retention = maker_of(self.store, folder), retention_of(self.store, folder)
        self.tables = IcebergTables(self.store.connections, str(folder / "iceberg"), timedelta(seconds=1))
        switch = catalogue.switch

        def switching(*given: Any) -> None:
            note(self.stage, "switch")
            switch(*given)
            note(self.stage, "make")

        writer.catalogue.switch = switching

    def run(self) -> None:
        acts = [self.make, self.make, self.follow, self.move, self.remove]
        while True:
            for act in random.sample(acts, len(acts)):
                try:
                    act()
                except StoreError:  # the lock of a killed run, or PostgreSQL was killed under a session of its own
                    time.sleep(0.05)

    def make(self) -> None:
        note(self.stage, "make")
        self.maker.run(random.choice(MOMENTS))

    def follow(self) -> None:
        note(self.stage, "iceberg")
        self.tables.follow(lambda text: None)

    def move(self) -> None:
        with self.retention.exclusive():
            self.retention.archiver.recover()
            if archived := self.store.archive.files("bars", M1):
                note(self.stage, "restore")
                there = [one for one in self.store.archive.files(None) if one.first_open == archived[0].first_open]
                restore.restore(self.store.connections, there, timedelta(0))
            else:
                note(self.stage, "archive")
                self.retention.archiver.archive(MONTH, 0)

    def remove(self) -> None:
        note(self.stage, "remove")
        self.maker._remove(5.0)


class Corrector(threading.Thread):
    """Corrects bars again and again. ``known`` has the number of each correction with a moment at which it was true."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(daemon=True)
        self._store, self._folder, self.number, self.ended = Store(url), folder, 0, threading.Event()

    def run(self) -> None:
        with (self._folder / "known").open("a") as known:
            while not self.ended.wait(0.2):
                number = self.number + 1
                note(self._folder / "begun", str(number))
                revision = END + timedelta(minutes=number)
                bars = [bar(name, at, price=1000.0 + number, revision=revision) for name in SYMBOLS for at in CORRECTED]
                self._store.bars.write(frame(bars).sort("instrument", "open_time"), M1)
                (moment,) = self._store.connections.row("SELECT clock_timestamp()")
                self.number = number
                known.write(f"{number} {moment.isoformat()}\n")
                known.flush()
                note(self._folder / "done", str(number))
        self._store.close()


def split(bars: pl.DataFrame) -> tuple[pl.DataFrame, list[float]]:
    """The bars that nobody corrects, and the opens of the others."""
    corrected = pl.col("open_time").is_in(CORRECTED)
    names = ["instrument", "open_time", "open", "high", "low", "close", "volume", "trade_count"]
    return bars.filter(~corrected).select(names), bars.filter(corrected)["open"].to_list()


def read(url: str, folder: Path) -> None:
    """Read until the file ``stop`` is there; then say how often, with how many reads of files, and what was wrong."""
    found: dict[str, Any] = {"reads": 0, "as_of": 0, "of_files": 0, "wrong": []}
    read_batch = files.read_batch

    def counted(*given: Any) -> Any:
        found["of_files"] += 1
        return read_batch(*given)

    mirrored.read_batch = counted
    expected = pl.read_parquet(folder / "expected.parquet")
    with Reader(url) as reader:
        while not (folder / "stop").exists():
            past = random.random() < 0.3 and (folder / "known").read_text().splitlines()[-60:]
            number, moment = random.choice(past).split() if past else (None, None)
            lowest = int((folder / "done").read_text())
            try:
                bars = reader.bars(SYMBOLS, "1m", FEBRUARY, END, as_of=moment, final_only=False)
            except Exception as error:
                found["wrong"].append(f"{type(error).__name__}: {error}"[:300])
                continue
            highest = int((folder / "begun").read_text())
            rest, opens = split(bars)
            found["reads"] += 1
            found["as_of"] += number is not None
            told = {value - 1000 for value in opens}
            right = len(opens) == 2 * len(SYMBOLS) and len(told) == 1
            right = right and (told == {int(number)} if number else lowest <= min(told) <= highest)
            if not right or not rest.equals(expected):
                found["wrong"].append(f"{datetime.now(UTC)} as of {moment}: {sorted(told)} of {lowest} to {highest}, "
                                      f"{rest.height} other bars")  # fmt: skip
    (folder / "read.json").write_text(json.dumps(found))


def child(act: str, url: str, folder: Path) -> subprocess.Popen[bytes]:
    """A process of this file. A worker has its imports done and waits for a line."""
    command = [sys.executable, "-W", "ignore", __file__, "--child", act, url, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def kill_again_and_again(kills: int, server: EmbeddedServer, folder: Path, postgres: Any) -> tuple[Any, Counter[str]]:
    """Kill ``kills`` workers. Return PostgreSQL's process, and how many ended in which stage."""
    rng, stages = random.Random(1), Counter[str]()
    coming = child("work", server.url(), folder)
    for number in range(kills):
        process, coming = coming, child("work", server.url(), folder)
        assert process.stdout is not None
        process.stdout.readline()
        note(folder / "stage", "start")
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        time.sleep(0.2 + rng.random() * 3.0)
        stages[(folder / "stage").read_text()] += 1
        if number % 4 == 3:
            postgres.kill()
            postgres.wait()
        process.kill()
        process.wait()
        if number % 4 == 3:
            postgres = start_postgres(server, folder)
    coming.kill()
    coming.wait()
    return postgres, stages


def left_over(store: Store, folder: Path) -> dict[str, int]:
    """What is there and nobody needs, after undisturbed runs."""
    worker = Worker(store.url, folder)
    for _ in range(3):
        worker.maker.run(MOMENTS[1], whole=True)
        worker.follow()
        time.sleep(1.1)
        worker.maker._remove(0)
    with worker.retention.exclusive():
        worker.retention.archiver.recover()
        store.connections.run(lambda connection: connection.execute(_LONG_AGO) and None)
        worker.retention.archiver.remove_retired()
    known = {file.path for file in store.connections.run(catalogue.find)}
    there = {path for path in worker.maker._storage.paths() if path.endswith(".parquet")}
    archive = {one.path for one in store.archive.files(None)}
    stored = {path for path in worker.retention.archiver.storage.paths() if path.endswith(".parquet")}
    due = len(worker.maker.due(MOMENTS[1]))
    worker.store.close()
    return {"files of the mirror": len(known ^ there), "of the archive": len(archive ^ stored), "due at the end": due}


def flipped(store: Store, folder: Path) -> str:
    """Flip a byte, and say what happened."""
    settings = load_settings(data_dir=folder, database_url=store.url, mirror_url=str(folder / "mirror"))
    file = max(store.connections.run(catalogue.find), key=lambda one: one.end_day)
    path = local_path(file.url)
    assert path is not None
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    files.forget_proofs()
    with Reader(store.url) as reader:
        bars = reader.bars(SYMBOLS, "1m", FEBRUARY, END, final_only=False)
    plain = store.reader.read(SYMBOLS, M1, FEBRUARY, END, columns=bars.columns)
    proof = prove_mirror(store, settings)
    assert proof is not None
    (result,) = [row for row in store.checks.results().to_dicts() if row["check"] == "mirror_files"]
    named = file.path in result["summary"] and not result["passed"]
    store.clock.learn("replay", MOMENTS[1])
    made = make_mirror(store, settings).as_dict()["files"]
    verdict = "right" if bars.equals(plain) else "WRONG"
    return f"flipped byte: read {verdict}, named by the check: {named}, files made again: {made}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    options = parser.parse_args()
    print(machine() + "\n", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="cp-mirror-"))
    server = EmbeddedServer(folder)
    server.prepare()
    postgres = start_postgres(server, folder)
    migrate(server.url())
    with Store(server.url()) as store:
        add_symbols(store)
        for start in (FEBRUARY, MARCH):
            store.bars.write(series(count=2 * 1440, start=start), M1)
        split(store.reader.read(SYMBOLS, M1, FEBRUARY, END))[0].write_parquet(folder / "expected.parquet")
        for name in ("done", "begun", "known"):
            (folder / name).write_text("0" * (name != "known"))
        corrector = Corrector(server.url(), folder)
        corrector.start()
        while corrector.number == 0:
            time.sleep(0.05)
        reader = child("read", server.url(), folder)
        clock = time.monotonic()
        postgres, stages = kill_again_and_again(options.kills, server, folder, postgres)
        corrector.ended.set()
        corrector.join()
        (folder / "stop").touch()
        reader.wait()
        read_by = json.loads((folder / "read.json").read_text())
        left, seconds = left_over(store, folder), time.monotonic() - clock
        byte = flipped(store, folder)
    postgres.kill()
    postgres.wait()
    shutil.rmtree(folder, ignore_errors=True)
    head = [
        "kills",
        "of PostgreSQL too",
        *STAGES,
        "corrections",
        "reads",
        "as of then",
        "of files",
        "wrong",
        *left,
        "load",
    ]
    killed = [stages[stage] for stage in STAGES]
    reads = [read_by["reads"], read_by["as_of"], read_by["of_files"], len(read_by["wrong"])]
    table(head, [[options.kills, options.kills // 4, *killed, corrector.number, *reads, *left.values(), load()]])
    print(f"{seconds:.0f} s; {byte}")
    print("\n".join(read_by["wrong"][:10]))
    sys.exit(bool(read_by["wrong"]) or any(left.values()) or "WRONG" in byte)


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # PostgreSQL is away again and again
    if sys.argv[1:2] == ["--child"]:
        _, _, act, url, place = sys.argv
        if act == "work":
            worker = Worker(url, Path(place))
            print("ready", flush=True)
            sys.stdin.readline()
            worker.run()
        else:
            read(url, Path(place))
    else:
        os.environ.setdefault("POLARS_MAX_THREADS", "2")
        main()
