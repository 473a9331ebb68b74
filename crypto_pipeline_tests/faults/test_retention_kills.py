"""SIGKILL at any moment of archiving, retention, restoring and compaction, of the worker, of PostgreSQL or of both: no
row is lost, none is doubled.

Guards I7 (docs/invariants.md).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.market.bars import TRADE_SCHEMA
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import EmbeddedServer, Store, migrate
from crypto_pipeline_tests.builders.bars import SYMBOLS, add_symbols, database_clock, miscounted, series
from crypto_pipeline_tests.builders.databases import as_argument
from crypto_pipeline_tests.builders.places import server_folder
from crypto_pipeline_tests.faults import retention_worker
from crypto_pipeline_tests.store.archive.test_archive import everything

#: CRYPTO_PIPELINE_TEST_KILLS=60 for the long form.
KILLS = int(os.environ.get("CRYPTO_PIPELINE_TEST_KILLS", "3"))
VICTIMS = ("worker", "database", "both")
MARCH = datetime(2025, 3, 1, tzinfo=UTC)
VENUE = "replay"


def trades(days: int, each: int) -> pl.DataFrame:
    rng = random.Random(3)
    rows = [
        {
            "instrument": symbol,
            "trade_id": day * each + number,
            "first_id": day * each + number,
            "last_id": day * each + number,
            "time": MARCH + timedelta(days=day, seconds=number),
            "price": 100 + rng.random(),
            "quantity": rng.random(),
            "taker_side": rng.choice(["buy", "sell"]),
        }
        for symbol in SYMBOLS[:2]
        for day in range(days)
        for number in range(each)
    ]
    return pl.DataFrame(rows, schema=TRADE_SCHEMA, orient="row")


def all_trades(store: Store) -> pl.DataFrame:
    """Every trade of table and archive; a double would show."""
    parts = [store.trades.read(VENUE, SYMBOLS[:2], MARCH, MARCH + timedelta(days=300))]
    files = store.archive.files("trades")
    if files:
        parts.append(store.archive.scan(files).collect().select(*TRADE_SCHEMA))
    return pl.concat(parts).sort("instrument", "trade_id")


def hot_and_archived(store: Store, timeframe: Timeframe) -> tuple[int, int]:
    """Rows of the table, and what coverage says lies in the archive alone."""
    row = store.connections.run(
        lambda connection: connection.execute(
            "SELECT (SELECT count(*) FROM market.ohlc_data WHERE timeframe = %(t)s), "
            "(SELECT sum(archived) FROM market.coverage WHERE timeframe = %(t)s)",
            {"t": str(timeframe)},
        ).fetchone()
    )
    assert row is not None
    return row


class Database:
    """A durable PostgreSQL of its own, to be killed."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedServer(folder)
        self._server.prepare()
        self.url = self._server.url()
        self._environment = {
            **os.environ, "CRYPTO_PIPELINE_DATA_DIR": str(folder), "CRYPTO_PIPELINE_DATABASE_URL": self.url
        }  # fmt: skip
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "crypto_pipeline.cli", "_postgres"]
        self._process = subprocess.Popen(
            command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._server.wait_ready(60)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)


@pytest.fixture
def database() -> Iterator[Database]:
    folder = server_folder("cp-kill-")
    one = Database(folder)
    migrate(one.url)
    try:
        yield one
    finally:
        one.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.faults
def test_any_kill_of_retention(database: Database, tmp_path: Path) -> None:
    with Store(database.url) as store:
        add_symbols(store)
        store.bars.write(series(count=7800, start=MARCH + timedelta(days=26)), Timeframe.M1)
        store.bars.write(series(count=1500, start=MARCH, timeframe=Timeframe.H1), Timeframe.H1)
        before = {timeframe: everything(store, timeframe) for timeframe in (Timeframe.M1, Timeframe.H1)}
        moment = database_clock(store)
        for timeframe in before:
            newer = series(count=800, start=MARCH + timedelta(days=26), timeframe=timeframe, seed=2,
                           revised=timedelta(days=40))  # fmt: skip
            store.bars.write(newer, timeframe)
        after = {timeframe: everything(store, timeframe) for timeframe in before}
        store.trades.write(VENUE, trades(3, 400))
        known_trades = all_trades(store)

        def prove() -> None:
            assert miscounted(store) == []
            for timeframe, bars in after.items():
                assert_frame_equal(everything(store, timeframe), bars)
                assert_frame_equal(everything(store, timeframe, moment), before[timeframe])
                assert sum(hot_and_archived(store, timeframe)) == bars.height
                everywhere = store.reader.read(SYMBOLS, timeframe, MARCH, MARCH + timedelta(days=300))
                assert_frame_equal(everywhere.select(bars.columns), bars, check_row_order=False)
            assert_frame_equal(all_trades(store), known_trades)

        prove()
        rng = random.Random(7)
        cycle, stages = 1.5, set()
        for number in range(KILLS):
            stage, took = _kill(database, VICTIMS[number % len(VICTIMS)], tmp_path, rng.random() * cycle)
            stages.add(stage)
            cycle = took or cycle
            prove()
        # whatever the last one left, the next run puts right
        retention_worker.retention(store, tmp_path).run(retention_worker.NOW)
        prove()
        assert all(min(hot_and_archived(store, timeframe)) > 0 for timeframe in after), "some stay, some have left"
        leftovers = (
            "SELECT count(*) FROM pg_class WHERE relname LIKE '%\\_\\_%' AND relkind = 'r' AND relname ~ '^ohlc'"
        )
        assert store.connections.run(lambda connection: connection.execute(leftovers).fetchone()) == (0,)
        files = {file.url.rpartition("/")[2] for file in store.archive.files(None)}
        unread = "UPDATE market.archive_files SET retired_at = now() - interval '1 day' WHERE status = 'retired'"
        store.connections.run(lambda connection: connection.execute(unread) and None)
        retention_worker.retention(store, tmp_path).run(retention_worker.NOW)
        assert {path.name for path in (tmp_path / "archive").rglob("*.parquet*")} == files


def _kill(database: Database, victim: str, folder: Path, after: float) -> tuple[str, float | None]:
    """Start the worker, kill after so many seconds of its work; what it said last, and seconds of a cycle if known.

    A worker that outlives its database either goes on or ends with one clear line.
    """
    command = [
        sys.executable,
        "-m",
        "crypto_pipeline_tests.faults.retention_worker",
        as_argument(database.url),
        str(folder),
    ]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stderr is not None
    assert worker.stdout.readline() == "ready\n", worker.stderr.read()
    began = time.monotonic()
    time.sleep(after)  # the moment is the one thing here that must not be awaited
    assert worker.poll() is None, worker.stderr.read()
    took = time.monotonic() - began
    if victim != "worker":
        database.kill()
    if victim == "database":
        database.start()
        worker.stdout.readline()  # what it did at the time is done, or it ends
    worker.kill()
    worker.wait()
    if victim == "both":
        database.start()
    said = worker.stdout.read().split()
    complaint = worker.stderr.read()
    assert not complaint or "StoreError" in complaint.strip().splitlines()[-1], complaint
    rounds = said.count("restored") if victim == "worker" else 0
    return (said or ["ready"])[-1], took / rounds if rounds else None
