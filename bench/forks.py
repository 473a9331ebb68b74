"""Forked children read while their parent continues to read: every answer must be correct, and no read may hang.

    python bench/forks.py [--forks 200] [--children 3] [--url URL]

Each fork makes ``--children`` children at once while threads of the parent read, compute with Polars and hold cached
answers. A child reads 60 bars and 5,000 of its instrument, and 60 through the cache twice, and compares them with what
the parent read before; every seventh also asks for flat bars and for gaps, which take a process of their own. Half of
the children end as `multiprocessing` ends them (`os._exit`), half close the reader and go through the end of the
interpreter, which tidies up everything that was copied. A child that takes longer than three minutes counts as hung.

Without ``--url`` a server of its own is made; the database behind ``--url`` gets three instruments of its own.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from common import database, machine, numbers, postgres, table

from crypto_pipeline import Reader
from crypto_pipeline.market import Instrument
from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.background import Background
from crypto_pipeline_tests.builders.databases import from_argument

NAMES = ["FORKA-USDT", "FORKB-USDT", "FORKC-USDT"]
START, BARS, HUNG = datetime(2025, 3, 3, tzinfo=UTC), 6_000, 180.0
WRONG, FAILED = 10, 20


def fill(url: str) -> None:
    """Three clearly different series with one gap each."""
    with Store(url) as store:
        store.instruments.add([Instrument.crypto(name) for name in NAMES])
        for number, name in enumerate(NAMES):
            price = 100.0 * (number + 1) + np.arange(BARS) / BARS
            times = [START + minute * timedelta(minutes=1) for minute in range(BARS)]
            frame = pl.DataFrame(
                {
                    "instrument": [name] * BARS, "open_time": times, "open": price, "high": price + 1,
                    "low": price - 1, "close": price, "volume": price, "quote_volume": price, "taker_buy_volume": price,
                    "trade_count": [7] * BARS, "source": ["venue_historical"] * BARS, "complete": [True] * BARS,
                    "revision": times,
                },
                schema_overrides=BAR_SCHEMA,
            ).filter(pl.col("open_time") != START + timedelta(minutes=BARS - 30))  # fmt: skip
            store.bars.write(frame.select(pl.col(k).cast(v) for k, v in BAR_SCHEMA.items()), Timeframe.M1)


def questions(reader: Reader, name: str, everything: bool) -> dict[str, Callable[[], pl.DataFrame]]:
    """The reads of a child."""
    end = START + timedelta(minutes=BARS)
    found = {
        "60": lambda: reader.bars(name, "1m", last=60, end=end),
        "5,000": lambda: reader.bars(name, "1m", start=end - timedelta(minutes=5_001), end=end),
        "cached": lambda: reader.cached.bars(name, "1m", last=60, end=end).value,
        "cached again": lambda: reader.cached.bars(name, "1m", last=60, end=end).value,
    }
    if everything:
        found["flat"] = lambda: reader.bars(name, "1m", start=end - timedelta(hours=1), end=end, fill="flat")
        found["gaps"] = lambda: reader.gaps(name)
    return found


def child(reader: Reader, name: str, expected: dict[str, pl.DataFrame], everything: bool) -> int:
    """Exit code: 0 if every answer is correct."""
    for number, (what, ask) in enumerate(questions(reader, name, everything).items()):
        try:
            if not ask().equals(expected[what]):
                return WRONG + number
        except Exception as error:
            print(f"{name} {what}: {type(error).__name__}: {error}", file=sys.stderr)
            return FAILED + number
    return 0


class Beside(Background):
    """Threads of the parent that read and compute all the time."""

    def __init__(self, reader: Reader, expected: dict[str, dict[str, pl.DataFrame]]) -> None:
        self.reader, self.expected = reader, expected
        self.asked, self.wrong = 0, 0
        super().__init__([*(partial(self.read, name) for name in NAMES), self.compute])

    def read(self, name: str) -> None:
        asks = questions(self.reader, name, False)
        while not self.stopping.is_set():
            for what, ask in asks.items():
                self.asked += 1
                try:
                    self.wrong += not ask().equals(self.expected[name][what])
                except Exception as error:
                    self.wrong += 1
                    print(f"parent, {name} {what}: {type(error).__name__}: {error}", file=sys.stderr)

    def compute(self) -> None:
        frame = pl.DataFrame({"a": np.random.default_rng(1).random(20_000), "b": np.arange(20_000) % 7})
        while not self.stopping.is_set():
            frame.filter(pl.col("a") > 0.5).group_by("b").agg(pl.col("a").sum()).sort("b")
            time.sleep(0.001)


def wait(children: dict[int, float], results: Counter[str], took: list[float]) -> None:
    """Collect all children."""
    begin = time.monotonic()
    for pid, since in children.items():
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                kind = "right" if code == 0 else "wrong" if WRONG <= code < FAILED else f"failed ({code})"
                results[kind] += 1
                took.append(time.monotonic() - since)
                break
            if time.monotonic() - begin > HUNG:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                results["hung"] += 1
                break
            time.sleep(0.002)


def exam(url: str, forks: int, children: int) -> bool:
    """Run the bench; True if all answers were correct."""
    results: Counter[str] = Counter()
    took: list[float] = []
    rng = random.Random(1)
    with Reader(url) as reader:
        expected: dict[str, dict[str, Any]] = {
            name: {what: ask() for what, ask in questions(reader, name, True).items()} for name in NAMES
        }
        assert all(len(each["5,000"]) == 5_000 and len(each["60"]) == 60 for each in expected.values())
        with Beside(reader, expected) as beside:
            for number in range(forks):
                time.sleep(rng.random() / 50)  # at any moment of what the others do
                running = {}
                for one in range(children):
                    name = NAMES[one % len(NAMES)]
                    pid = os.fork()
                    if pid == 0:
                        code = child(reader, name, expected[name], number % 7 == 0 and one == 0)
                        if number % 2:
                            os._exit(code)
                        sys.exit(code)
                    running[pid] = time.monotonic()
                wait(running, results, took)
        with Reader(url) as another:
            after = another.bars(NAMES[0], "1m", last=60, end=START + timedelta(minutes=BARS))
            results["wrong"] += not after.equals(expected[NAMES[0]]["60"])
    failed = sum(count for kind, count in results.items() if kind.startswith("failed"))
    took.sort()
    table(
        ["forks × children", "right", "wrong", "failed", "hung", "a child takes, p50 / p99", "parent's reads", "wrong"],
        [[
            f"{forks} × {children}", results["right"], results["wrong"], failed, results["hung"],
            f"{took[len(took) // 2]:.2f} / {took[int(len(took) * 0.99)]:.2f} s", f"{beside.asked:,}", beside.wrong,
        ]],
    )  # fmt: skip
    return results["right"] == forks * children and results["wrong"] == beside.wrong == 0


def main() -> None:
    parser = numbers(__doc__, forks=200, children=3)
    parser.add_argument("--url", type=from_argument)
    options = parser.parse_args()
    if options.url:
        fill(options.url)
        sys.exit(0 if exam(options.url, options.forks, options.children) else 1)
    # a process of its own: a child that ends through the end of the interpreter leaves all blocks that it was forked in
    print(f"{machine()}\n", flush=True)
    with postgres() as server, database(server, "forks") as url:
        command = [sys.executable, __file__, "--url", url]
        command += ["--forks", str(options.forks), "--children", str(options.children)]
        code = subprocess.call(command)
    sys.exit(code)


if __name__ == "__main__":
    main()
