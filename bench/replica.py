"""Reads beside a streaming replica that lags, cancels and is killed: every answer right, its age true.

    python bench/replica.py [--seconds 20] [--lag 60]

A primary, a replica (pg_basebackup of it, max_standby_streaming_delay 0) and a writer that corrects one bar twenty
times a second: the bar's close tells when the answer's state was committed. Readers ask for it through the cache and
without it. An answer is wrong if its age is less than that of the oldest correction that it lacks, or if a question as
of a moment gets another value than the primary's. In turn the replica follows, lags, has its rows vacuumed away, is
killed, and follows again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from common import load, machine, numbers, table

from crypto_pipeline import Reader
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store, migrate
from crypto_pipeline.store.database.connect import ensure_databases
from crypto_pipeline_tests.builders.bars import START, add_symbols, bar, frame, series
from crypto_pipeline_tests.builders.standby import Standby, replicated_primary

NAME = "replicated"
END = START + timedelta(days=1)


class Writer:
    """Corrects the first bar again and again; remembers when each price was committed."""

    def __init__(self, store: Store) -> None:
        self.store, self.number = store, 0
        #: time.monotonic after the commit of each price, and the database's moment then
        self.committed: list[float] = []
        self.moments: list[datetime] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.05):
            self.number += 1
            revision = START + timedelta(days=2, seconds=self.number)
            self.store.bars.write(frame([bar(price=1000.0 + self.number, revision=revision)]), Timeframe.M1)
            self.moments.append(self.store.connections.row("SELECT clock_timestamp()")[0])
            self.committed.append(time.monotonic())

    def lacks_since(self, close: float) -> float:
        """When the first correction after this price was committed; infinite without one."""
        number = round(close - 1000.5)
        return self.committed[number] if number < len(self.committed) else float("inf")


class Readers:
    """Reads in threads; what was wrong, and how old answers were."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self.reader, self.writer = reader, writer
        self.stop = threading.Event()
        self.reads = 0
        self.ages: list[float] = []
        self.took: list[float] = []
        self.wrong: list[str] = []

    def plain(self) -> None:
        """Without the cache: an answer lacks nothing that is older than the lag that is allowed, plus the read."""
        while not self.stop.is_set():
            began = time.monotonic()
            close = self._close(self.reader.bars("BTC-USDT", "1m", START, END, columns=["open_time", "close"]))
            missing = began - self.writer.lacks_since(close)
            if missing > 5.0:
                self.wrong.append(f"an answer lacks a correction of {missing:.2f} s ago")
            self._count(began)

    def cached(self) -> None:
        while not self.stop.is_set():
            began = time.monotonic()
            answer = self.reader.cached.bars("BTC-USDT", "1m", START, END, columns=["open_time", "close"])
            age = answer.age_s
            missing = time.monotonic() - self.writer.lacks_since(self._close(answer.value))
            # the writer notes a commit some time after it, so that this is a lower bound
            if missing > age + 0.02:
                self.wrong.append(f"age {age:.3f} s, but it lacks a correction of {missing:.3f} s ago")
            self.ages.append(age)
            self._count(began)

    def as_of(self) -> None:
        while not self.stop.is_set():
            began, number = time.monotonic(), len(self.writer.moments) - 1
            moment = self.writer.moments[number]
            found = self.reader.bars("BTC-USDT", "1m", START, END, columns=["open_time", "close"], as_of=moment)
            if self._close(found) != 1001.5 + number:
                self.wrong.append(f"as of {moment}: {self._close(found)} instead of {1001.5 + number}")
            self._count(began)

    def _close(self, found: object) -> float:
        return float(found["close"][0])  # type: ignore[index]

    def _count(self, began: float) -> None:
        self.reads += 1
        self.took.append(time.monotonic() - began)


def phase(what: str, reader: Reader, writer: Writer, seconds: float, act: Callable[[], object]) -> list[object]:
    readers = Readers(reader, writer)
    routed = reader._routed
    assert routed is not None
    before = routed.answered_by_replica
    threads = [threading.Thread(target=one) for one in (readers.plain, readers.cached, readers.as_of)]
    for thread in threads:
        thread.start()
    act()
    time.sleep(seconds)
    readers.stop.set()
    for thread in threads:
        thread.join(60)
    ages, took = sorted(readers.ages), sorted(readers.took)
    row = [
        what, f"{readers.reads:,}", f"{routed.answered_by_replica - before:,}",
        f"{ages[len(ages) // 2]:.2f} / {ages[-1]:.2f}",
        f"{1000 * took[len(took) // 2]:.0f} / {1000 * took[int(0.99 * len(took))]:.0f} / {1000 * took[-1]:.0f}",
        len(readers.wrong), load(),
    ]  # fmt: skip
    print(f"{datetime.now(UTC):%H:%M:%S} {row} {readers.wrong[:3]}", flush=True)
    return row


def vacuum(url: str) -> None:
    """Remove what reads of the replica may still see: it cancels them."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(20):
            connection.execute("VACUUM market.ohlc_data")
            time.sleep(0.2)


def run(given: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="cp-bench-") as folder, replicated_primary(Path(folder)) as server:
        ensure_databases(server.url("postgres"), [NAME])
        url = server.url(NAME)
        migrate(url)
        with Store(url) as store:
            add_symbols(store)
            store.bars.write(series(), Timeframe.M1)
            standby = Standby(server, "max_standby_streaming_delay = 0")
            writer = Writer(store)
            writing = threading.Thread(target=writer.run)
            writing.start()
            try:
                time.sleep(1)
                with Reader(url, read_url=standby.url(NAME), read_lag=4.0, patience=10.0) as reader:
                    rows = phases(given, reader, writer, standby, url)
            finally:
                writer.stop.set()
                writing.join(30)
                standby.stop()
    print(machine())
    head = [
        "the replica",
        "reads",
        "by the replica",
        "age s, median / most",
        "ms, median / p99 / most",
        "wrong",
        "load",
    ]
    table(head, rows)
    return sum(int(str(row[5])) for row in rows)


def phases(given: argparse.Namespace, reader: Reader, writer: Writer, standby: Standby, url: str) -> list[list[object]]:
    rows = [phase("follows", reader, writer, given.seconds, lambda: None)]
    rows.append(phase(f"lags {given.lag:.0f} s", reader, writer, given.lag, standby.pause))
    rows.append(phase("catches up", reader, writer, given.seconds, standby.resume))
    rows.append(phase("cancels reads", reader, writer, given.seconds / 2, lambda: vacuum(url)))
    rows.append(phase("is killed", reader, writer, given.seconds, standby.kill))
    rows.append(phase("follows again", reader, writer, given.seconds, standby.start))
    return rows


if __name__ == "__main__":
    sys.exit(run(numbers(__doc__, seconds=20.0, lag=60.0).parse_args()))
