"""A backfill through a faulty exchange, worker and database killed again and again: the tables equal the tape.

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

from crypto_pipeline.healing import Horizon
from crypto_pipeline.market import Instrument, Timeframe, to_spans
from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.store import EmbeddedServer, Store, migrate
from crypto_pipeline_tests.builders.places import server_folder

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

NOW = datetime(2026, 11, 20, 10, 30, 20, tzinfo=UTC)
DAYS = 23
# liquid and quiet ones, some listed inside the span (MOG, GIGA, HIPPO), one delisted inside it (TREMP)
BASES = ("BTC", "SOL", "ICP", "STRK", "MOG", "GIGA", "HIPPO", "TREMP")
SYMBOLS = [f"{base}-USDT" for base in BASES]
KILLS = 12
DATABASE_KILLS = 3

HIDDEN = ("2026-11-10T09:00:00Z", "2026-11-10T13:00:00Z")
WRONG = ("2026-11-12T15:00:00Z", "2026-11-12T15:30:00Z")
FAULTS = [
    {"kind": "missing_range", "symbol": "BTC-USDT", "start": HIDDEN[0], "end": HIDDEN[1]},
    {"kind": "wrong_values", "symbol": "SOL-USDT", "start": WRONG[0], "end": WRONG[1], "columns": ["volume", "high"],
     "factor": 1.3},
    {"kind": "rate_limit", "status": 429, "retry_after": 1, "probability": 0.02, "endpoint": "klines"},
    {"kind": "server_error", "status": 502, "probability": 0.03},
    {"kind": "short_pages", "rows": 137, "probability": 0.1, "endpoint": "klines"},
    {"kind": "truncated", "share": 0.5, "probability": 0.03},
    {"kind": "malformed", "probability": 0.02, "endpoint": "klines"},
    {"kind": "hang", "seconds": 60, "probability": 0.01, "endpoint": "klines"},
]  # fmt: skip
#: So that every kill meets a worker at work; it ends with the kills.
SLOW = {"kind": "slow", "seconds": 0.25, "probability": 0.7, "endpoint": "klines"}


class Deployment:
    """A data directory with its own durable PostgreSQL, and the command line as the worker."""

    def __init__(self, folder: Path, exchange: ReplayExchange) -> None:
        self.server = EmbeddedServer(folder)
        self.server.prepare()
        self.environment = {
            **os.environ,
            "CRYPTO_PIPELINE_DATA_DIR": str(folder),
            "CRYPTO_PIPELINE_DATABASE_URL": self.server.url(),
            "CRYPTO_PIPELINE_REPLAY_PORT": str(exchange.port),
            "CRYPTO_PIPELINE_DAYS": str(DAYS),
            "CRYPTO_PIPELINE_HEAL_BACKOFF": "0.0001",
            "CRYPTO_PIPELINE_HEAL_ATTEMPTS": "1000",
            "CRYPTO_PIPELINE_REQUEST_TIMEOUT": "3",
            "CRYPTO_PIPELINE_ARCHIVE_MIN_DAYS": "1000",  # pages, not files: more moments to be killed at
            "CRYPTO_PIPELINE_WRITE_BATCH_ROWS": "5000",
            "CRYPTO_PIPELINE_FETCH_CONCURRENCY": "6",
        }
        self.postgres = self._start_postgres()

    def _start_postgres(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "crypto_pipeline.cli", "_postgres"]
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.server.wait_ready(60)
        return process

    def kill_postgres(self) -> None:
        """SIGKILL to the server; the next one recovers."""
        self.postgres.kill()
        self.postgres.wait()
        self.postgres = self._start_postgres()

    def worker(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "crypto_pipeline.cli", *arguments]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def finish(self, *arguments: str) -> str:
        """Run a command to its end."""
        process = self.worker(*arguments)
        output, _ = process.communicate(timeout=300)
        # While the exchange hides bars the command says which are missing, and exits with 1.
        assert process.returncode == ("bars are missing" in output), output
        return output

    def close(self) -> None:
        self.postgres.send_signal(signal.SIGINT)
        self.postgres.wait(timeout=60)


@pytest.fixture
def deployment() -> Iterator[tuple[Deployment, ReplayExchange]]:
    folder = server_folder("cp-kill-")
    instruments = ",".join(f"{base}USDT" for base in BASES)
    with running_exchange(instruments=instruments, now=NOW, weight_limit=0, faults=FAULTS) as exchange:
        one = Deployment(folder, exchange)
        try:
            yield one, exchange
        finally:
            one.close()
            shutil.rmtree(folder, ignore_errors=True)


def test_any_order_any_kill(deployment: tuple[Deployment, ReplayExchange]) -> None:
    house, exchange = deployment
    dice = random.Random(11)
    migrate(house.server.url())
    with Store(house.server.url()) as store:
        store.instruments.add([Instrument.crypto(symbol) for symbol in SYMBOLS])

    killed_at_work = 0
    [slow] = exchange.control(SLOW)
    for kill in range(3 * KILLS):
        worker = house.worker("backfill")
        time.sleep(dice.uniform(1.0, 2.8))  # the moment of a kill is the one thing here that must not be awaited
        killed_at_work += worker.poll() is None
        worker.kill()
        worker.communicate()
        if kill % (KILLS // DATABASE_KILLS) == 3 and kill < KILLS:
            house.kill_postgres()
        if killed_at_work >= KILLS:
            break
    assert killed_at_work >= KILLS - 2, f"only {killed_at_work} kills met a worker at work"
    exchange.clear_faults(slow)

    # The venue shows what it hid and corrects what it had wrong; a moment before that is remembered.
    with Store(house.server.url()) as store:
        house.finish("backfill")
        lost = store.ledger.open(timeframe=Timeframe.M1, instruments=["BTC-USDT"], states=["lost"])
        assert lost["bars"].sum() == 240, "the hidden hours are lost, and nothing else of BTC is"
        before = datetime.now(UTC)
        wrong = store.reader.read(["SOL-USDT"], Timeframe.M1, *map(_moment, WRONG))
        exchange.clear_faults()
        house.finish("backfill")
        house.finish(
            "reconcile", "--start", f"{NOW - timedelta(days=DAYS):%Y-%m-%d}", "--end", f"{NOW:%Y-%m-%dT%H:%MZ}"
        )
        house.finish("backfill")

        _equals_the_tape(store, exchange)
        _everything_is_accounted_for(store)
        right = store.reader.read(["SOL-USDT"], Timeframe.M1, *map(_moment, WRONG))
        assert not right.select("high", "volume").equals(wrong.select("high", "volume"))
        as_of = store.reader.read(["SOL-USDT"], Timeframe.M1, *map(_moment, WRONG), as_of=before)
        values = ["open_time", "open", "high", "low", "close", "volume"]
        assert as_of.select(values).equals(wrong.select(values))


def _equals_the_tape(store: Store, exchange: ReplayExchange) -> None:
    horizon = Horizon.of(NOW, DAYS, 5)
    for timeframe in Timeframe:
        first, last = horizon.first_open(timeframe), horizon.settled_end(timeframe)
        for symbol in SYMBOLS:
            ours = store.reader.read([symbol], timeframe, first, last)
            true = exchange.market.bars(symbol.replace("-", ""), timeframe, first, last)
            absent = to_spans(true.join(ours, on="open_time", how="anti")["open_time"], timeframe)
            reasons = store.ledger.open(timeframe=timeframe, instruments=[symbol]).drop("evidence").to_dicts()
            assert absent == [], (symbol, timeframe, absent, reasons)
            prices = ["open_time", "open", "high", "low", "close", "trade_count"]
            assert ours.select(prices).equals(true.select(prices)), (symbol, timeframe)
            assert ((ours["volume"] - true["volume"]).abs() <= 1e-9 * true["volume"]).all(), (symbol, timeframe)


def _everything_is_accounted_for(store: Store) -> None:
    cells = store.coverage.cells(list(Timeframe), None, NOW)
    unaccounted = cells.filter(pl.col("expected") != pl.col("present") + pl.col("explained"))
    assert unaccounted.is_empty(), unaccounted
    counted = {
        timeframe: store.reader.span(SYMBOLS, timeframe)["rows"].sum() for timeframe in (Timeframe.M1, Timeframe.H1)
    }
    for timeframe, rows in counted.items():
        read = store.reader.read(SYMBOLS, timeframe, NOW - timedelta(days=DAYS + 8), NOW + timedelta(days=1))
        assert read.height == rows


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
