"""SIGKILL in the middle of a sync: run again, the tables end as if nothing had happened.

Guards I7 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.databases import as_argument
from crypto_pipeline_tests.builders.fred import IDS, NOW, truth
from crypto_pipeline_tests.healing.macro.conftest import Sync

pytestmark = pytest.mark.faults

#: For every line that it reads it forks a process that syncs until it is killed, and names it.
WORKERS = """
import asyncio, os, sys
from crypto_pipeline.healing.macro.sync import sync_macro
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues.fred import rest
from crypto_pipeline_tests.builders.databases import from_argument
from crypto_pipeline.venues.protocol import BudgetLimit
rest._LIMIT, rest._APART = BudgetLimit(100_000, 1.0, 1.0), 0.0
for line in sys.stdin:
    if child := os.fork():
        print(child, flush=True)
        os.waitpid(child, 0)
        print("gone", flush=True)
        continue
    with Store(from_argument(sys.argv[1])) as store:
        while True:
            asyncio.run(sync_macro(store, load_settings(), store.macro.series(), full=True))
"""


@pytest.fixture
def workers(store: Store, exchange: ReplayExchange) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WORKERS, as_argument(store.url)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=dict(os.environ), stdin=pipe, stdout=pipe, text=True, bufsize=1) as started:
        yield started
        assert started.stdin is not None
        started.stdin.close()


async def test_any_kill_of_a_sync(
    store: Store, exchange: ReplayExchange, sync: Sync, workers: subprocess.Popen[str]
) -> None:
    assert workers.stdin is not None
    assert workers.stdout is not None
    draws, seen = random.Random(7), []
    for _ in range(6):
        workers.stdin.write("\n")
        child = int(workers.stdout.readline())
        await asyncio.sleep(draws.uniform(0.1, 0.9))  # the moment of the kill is what is tried
        os.kill(child, signal.SIGKILL)
        assert workers.stdout.readline() == "gone\n"
        stored = 0
        for series_id in IDS:
            rows = store.macro.observations(store.macro.find(series_id), prints="all")
            found = set(rows.select("period", "vintage_start", "value").rows())
            assert found in (set(), truth(exchange, series_id, NOW)), "all of a series or nothing"
            stored += bool(found)
        seen.append(stored)
    assert seen == sorted(seen)
    assert (await sync()).problems == {}
    for series_id in IDS:
        rows = store.macro.observations(store.macro.find(series_id), prints="all")
        assert set(rows.select("period", "vintage_start", "value").rows()) == truth(exchange, series_id, NOW)
        assert rows.height == len(truth(exchange, series_id, NOW))
