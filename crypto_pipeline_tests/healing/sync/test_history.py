"""The historical sync: what is known first, then what lags behind; killed at any moment, nothing is lost or doubled.

Guards I1, I3 and I7 (docs/invariants.md).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from crypto_pipeline.healing import Pipeline
from crypto_pipeline.healing.sync.history import AT_LEAST, SyncReport, sync_history
from crypto_pipeline.healing.sync.price_update import LOOK_BACK, update_prices
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.massive.server import Plan
from crypto_pipeline_tests.builders.databases import as_argument
from crypto_pipeline_tests.builders.massive_server import KEY
from crypto_pipeline_tests.healing.sync.conftest import NAMES, NOW, Stocks

M1 = Timeframe.M1
LAST = M1.floor(NOW)
BEGAN = datetime(2024, 7, 3, tzinfo=NOW.tzinfo)


async def twice(pipeline: Pipeline) -> SyncReport:
    """What leaves out silent minutes is asked twice before that counts."""
    report = await sync_history(pipeline)
    await pipeline.backfill()
    return report


def missing(stocks: Stocks) -> int:
    return int(stocks.store.coverage.summary()["missing"].sum())


def same_as_the_tape(stocks: Stocks, end: datetime = LAST) -> None:
    for name in NAMES:
        assert stocks.stored(name, BEGAN, end) == stocks.truth(name, BEGAN, end)


def test_series_without_a_bar_get_their_history_and_fresh_ones_nothing(stocks: Stocks) -> None:
    report = stocks.run(twice)
    assert report.behind == dict.fromkeys(NAMES)
    same_as_the_tape(stocks)
    assert missing(stocks) == 0
    stocks.server.requests.clear()
    again = stocks.run(sync_history)
    assert again.behind == {}
    assert again.healed.nothing_to_do
    assert not any("/v2/aggs/" in path for path in stocks.server.requests)
    # Where another run collects a new instrument, the sync leaves it to that.
    stocks.store.instruments.add([Instrument.stock("MSFT")])
    assert stocks.run(lambda pipeline: sync_history(pipeline, with_absent=False)).behind == {}


def test_a_series_that_is_three_hours_behind_heals_from_its_newest_bar(stocks: Stocks) -> None:
    stocks.run(twice)
    for hours, behind in ((2, set()), (3, set(NAMES))):
        stocks.server.clock.set(now=NOW + timedelta(hours=hours, minutes=5))
        report = stocks.run(sync_history)
        assert report.behind.keys() == behind, hours
        if behind:
            assert report.healed.of(M1).inserted > 3 * 145
            assert set(report.behind.values()) == {NOW + timedelta(hours=3, minutes=5) - AT_LEAST}
    stocks.run(twice)
    same_as_the_tape(stocks, M1.floor(NOW + timedelta(hours=3, minutes=5)))


def test_an_exchange_that_is_closed_lets_no_series_lag_behind(stocks: Stocks) -> None:
    stocks.run(twice)
    stocks.server.clock.set(now=datetime(2024, 7, 6, 2, tzinfo=NOW.tzinfo))
    stocks.run(twice)
    stocks.server.clock.set(now=datetime(2024, 7, 7, 20, tzinfo=NOW.tzinfo))  # a Sunday
    assert stocks.run(sync_history).behind == {}


def test_the_first_stage_is_done_while_the_venue_refuses(stocks: Stocks) -> None:
    stocks.run(update_prices)
    stocks.server.plans[KEY] = Plan(expired=True)
    report = stocks.run(sync_history)
    assert report.failure is not None
    assert "does not include" in str(report.failure)
    assert report.known.of(M1).inserted > 3 * 55
    for name in NAMES:
        assert stocks.stored(name, BEGAN, LAST) == stocks.truth(name, LAST - LOOK_BACK, LAST)


#: For every line that it reads it forks a process that works until it is killed, and names it.
WORKERS = """
import asyncio, os, sys
from crypto_pipeline.healing.pipeline import Pipeline
from crypto_pipeline.healing.sync.history import sync_history
from crypto_pipeline.healing.sync.price_update import update_prices
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.databases import from_argument

async def work(store):
    async with Pipeline.open(store, load_settings()) as pipeline:
        while True:
            await update_prices(pipeline)
            await sync_history(pipeline)

for line in sys.stdin:
    if child := os.fork():
        print(child, flush=True)
        os.waitpid(child, 0)
        print("gone", flush=True)
        continue
    with Store(from_argument(sys.argv[1])) as store:
        asyncio.run(work(store))
"""


@pytest.fixture
def workers(stocks: Stocks) -> Iterator[subprocess.Popen[str]]:
    given = {
        "CRYPTO_PIPELINE_VENUE": "massive", "CRYPTO_PIPELINE_MASSIVE_URL": stocks.url,
        "CRYPTO_PIPELINE_MASSIVE_KEY": KEY, "CRYPTO_PIPELINE_MASSIVE_FEED": "realtime",
        "CRYPTO_PIPELINE_MASSIVE_REQUESTS_PER_MINUTE": "60000", "CRYPTO_PIPELINE_DAYS": str(stocks.days),
        "CRYPTO_PIPELINE_HEAL_BACKOFF": "0.001",
    }  # fmt: skip
    command, pipe = [sys.executable, "-c", WORKERS, as_argument(stocks.store.url)], subprocess.PIPE
    with subprocess.Popen(command, env=os.environ | given, stdin=pipe, stdout=pipe, text=True, bufsize=1) as started:
        yield started
        assert started.stdin is not None
        started.stdin.close()


@pytest.mark.faults
def test_any_kill_of_update_and_sync(stocks: Stocks, workers: subprocess.Popen[str]) -> None:
    assert workers.stdin is not None
    assert workers.stdout is not None
    draws, at = random.Random(11), NOW
    for _ in range(5):
        workers.stdin.write("\n")
        child = int(workers.stdout.readline())
        time.sleep(draws.uniform(0.1, 0.6))  # the moment of the kill is what is tried
        os.kill(child, signal.SIGKILL)
        assert workers.stdout.readline() == "gone\n"
        at += timedelta(minutes=3)
        stocks.server.clock.set(now=at)
        for name in NAMES:  # whatever is stored is the tape's, once
            held, waits = stocks.stored(name, BEGAN, M1.floor(at)), stocks.waiting(name)
            tape = set(stocks.truth(name, BEGAN, M1.floor(at)))
            assert set(held) <= tape
            assert set(waits) <= tape
            assert len(set(held)) == len(held)
    stocks.run(update_prices)
    stocks.run(twice)
    stocks.run(lambda pipeline: pipeline.backfill())
    same_as_the_tape(stocks, M1.floor(at))
    assert [stocks.waiting(name) for name in NAMES] == [[], [], []]
    assert missing(stocks) == 0
    assert stocks.store.audit.newest(M1)["open_time"].null_count() == 0
