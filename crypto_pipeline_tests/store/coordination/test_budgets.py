"""Request budgets that processes share: never above the limit, one pause for all."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from crypto_pipeline.store.coordination.budgets import Budgets, PostgresBudget
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline_tests.builders.databases import as_argument


@dataclass(frozen=True)
class Limit:
    limit: int
    window: float
    share: float = 0.9


@pytest.fixture
def connections(postgres_url: str) -> Iterator[Connections]:
    connections = Connections(postgres_url)
    yield connections
    connections.close()


_SPENDER = """
import asyncio, json, sys, time
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.coordination.budgets import PostgresBudget
from crypto_pipeline_tests.builders.databases import from_argument

async def main(url, start, until):
    budget = PostgresBudget(Connections(url), "binance")
    spent = []
    async def spend(weight):
        while time.time() < until:
            await budget.acquire(weight)
            spent.append((time.time(), weight))
            await asyncio.sleep(0.001)
    await asyncio.sleep(start - time.time())
    tasks = [asyncio.create_task(spend(weight)) for weight in (1, 2, 2, 5)]
    await asyncio.wait(tasks, timeout=until - time.time() + 0.1)
    print(json.dumps(spent))
    for task in tasks:
        task.cancel()

print("ready", flush=True)
start, until = map(float, sys.stdin.readline().split())
asyncio.run(main(from_argument(sys.argv[1]), start, until))
"""


async def test_processes_together_stay_below_the_share_and_use_it(connections: Connections, postgres_url: str) -> None:
    window, limit = 2.0, 1200
    await PostgresBudget(connections, "binance").limit(Limit(limit, window))
    spenders = [
        subprocess.Popen(
            [sys.executable, "-c", _SPENDER, as_argument(postgres_url)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for spender in spenders:
        assert spender.stdout is not None
        assert spender.stdout.readline() == "ready\n"
    start = (time.time() // window + 1) * window
    if start - time.time() < 0.5:  # time to connect
        start += window
    until = start + 2 * window - 0.2
    for spender in spenders:
        assert spender.stdin is not None
        spender.stdin.write(f"{start} {until}\n")
        spender.stdin.flush()
    spent: Counter[int] = Counter()
    for spender in spenders:
        out, _ = spender.communicate(timeout=60)
        for when, weight in json.loads(out):
            spent[int(when // window)] += weight
    first = int(start // window)
    print(spent)
    assert set(spent) == {first, first + 1}
    for used in spent.values():
        assert limit * 0.9 * 0.9 <= used <= limit * 0.9


async def test_what_the_venue_says_counts_for_every_process(connections: Connections) -> None:
    one, other = PostgresBudget(connections, "binance"), PostgresBudget(connections, "binance")
    await _start_of_window(2.0)
    await one.limit(Limit(1000, 2.0))
    await one.acquire(10)
    await one.report(895)
    began = time.monotonic()
    await other.acquire(10)  # 895 and 10 are more than 900
    assert time.monotonic() - began > 1.0


async def test_a_lower_report_changes_nothing(connections: Connections) -> None:
    budget = PostgresBudget(connections, "binance")
    await _start_of_window(1.5)
    await budget.limit(Limit(100, 1.5))
    await budget.acquire(90)
    await budget.report(5)
    began = time.monotonic()
    await budget.acquire(1)
    assert time.monotonic() - began > 0.7


async def test_a_venue_clock_behind_ours_costs_a_second_and_not_a_window(connections: Connections) -> None:
    budget = PostgresBudget(connections, "binance")
    await budget.limit(Limit(100, 4.0))
    await _start_of_window(4.0, left=1.5)
    await budget.acquire(80)
    await _start_of_window(4.0)
    await budget.acquire(2)
    await budget.report(95)  # still the old count: 80 and more
    began = time.monotonic()
    await budget.acquire(2)
    assert 0.5 < time.monotonic() - began < 2.5


async def test_a_pause_holds_for_all_and_a_shorter_one_does_not_end_it(connections: Connections) -> None:
    one, other = PostgresBudget(connections, "binance"), PostgresBudget(connections, "binance")
    await other.acquire(1)  # has a block now
    await one.pause(2.0)
    began = time.monotonic()
    await one.pause(0.1)
    await asyncio.sleep(0.6)  # the promise is half a second
    await asyncio.gather(one.acquire(1), other.acquire(1))
    assert 1.5 < time.monotonic() - began < 3.5


async def test_a_request_heavier_than_the_allowance_goes_alone(connections: Connections) -> None:
    budget = PostgresBudget(connections, "binance")
    await budget.limit(Limit(10, 1.0))
    await asyncio.wait_for(budget.acquire(40), 5)


async def test_one_account_object_per_venue(connections: Connections) -> None:
    budgets = Budgets(connections)
    assert budgets.of("binance") is budgets.of("binance")
    assert budgets.of("binance") is not budgets.of("kraken")


async def test_blocks_save_round_trips(connections: Connections) -> None:
    budget = PostgresBudget(connections, "binance")
    await budget.acquire(2)
    asked = 0
    original = budget._ask

    def counting(weight: int):  # type: ignore[no-untyped-def]
        nonlocal asked
        asked += 1
        return original(weight)

    budget._ask = counting  # type: ignore[method-assign]
    for _ in range(300):
        await budget.acquire(2)
    assert asked <= 10


async def _start_of_window(width: float, left: float | None = None) -> None:
    """Sleep until a window begins (by the clock shared with PostgreSQL), or until ``left`` seconds before its end."""
    target = (time.time() // width + 1) * width + 0.05
    if left is not None:
        target -= left + 0.05
        target += width if target < time.time() else 0
    await asyncio.sleep(target - time.time())


async def test_history_of_any_size_leaves_a_part_to_what_is_live(connections: Connections) -> None:
    budgets = Budgets(connections)
    history, live = budgets.of("binance", keep=0.05), budgets.of("binance")
    assert history is budgets.of("binance", keep=0.05) is not live
    await live.limit(Limit(6000, 3600.0))  # a window that does not end within the test

    async def insatiable() -> None:
        while True:
            await history.acquire(2)

    backfills = [asyncio.create_task(insatiable()) for _ in range(20)]
    until = time.monotonic() + 20
    while history.booked < 5130 - 2 and time.monotonic() < until:
        await asyncio.sleep(0.02)
    began = time.monotonic()
    for _ in range(90):
        await asyncio.wait_for(live.acquire(2), 5)
    took = time.monotonic() - began
    for task in backfills:
        task.cancel()
    assert 5130 - 40 <= history.booked <= 5130  # 6000 × 0.9 × 0.95
    assert took < 2.0


async def test_many_who_want_one_request_do_not_use_the_window_up(connections: Connections) -> None:
    """Sensors and short commands: each asks for little and forfeits the rest of its block."""
    await PostgresBudget(connections, "binance").limit(Limit(6000, 60.0, 1.0))
    for _ in range(60):
        await PostgresBudget(connections, "binance").acquire(1)
    with connections.transaction() as connection:
        row = connection.execute("SELECT used FROM ops.venue_budgets WHERE venue = 'binance'").fetchone()
    assert row is not None
    assert row[0] <= 60 * 12


async def test_the_event_loop_never_waits_while_a_thread_asks_a_slow_database(connections: Connections) -> None:
    """A venue's answer and a pause are taken while the account's row is locked: whoever waits, waits in a thread."""
    budget = PostgresBudget(connections, "binance")
    await budget.limit(Limit(1200, 60.0))
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with connections.transaction() as connection:
            connection.execute("SELECT FROM ops.venue_budgets WHERE venue = 'binance' FOR UPDATE")
            locked.set()
            release.wait(30)

    holder = asyncio.create_task(asyncio.to_thread(hold))
    await asyncio.to_thread(locked.wait, 30)
    acquiring = asyncio.create_task(budget.acquire(1))
    while budget._lock.acquire(blocking=False):  # until the thread that asks has begun
        budget._lock.release()
        await asyncio.sleep(0.01)
    threading.Timer(5.0, release.set).start()  # should the loop stand still, it ends by this
    others = [asyncio.create_task(budget.report(100)), asyncio.create_task(budget.pause(0.01))]
    longest, last = 0.0, time.monotonic()
    for _ in range(20):
        await asyncio.sleep(0.01)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert longest < 2.0
    assert not acquiring.done()
    release.set()
    await asyncio.gather(holder, acquiring, *others)
