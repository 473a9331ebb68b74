"""The request budget: never above the share, nearly all of it used, the venue's header believed."""

from __future__ import annotations

import asyncio
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.venues import BudgetLimit, MemoryBudget


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


def tried(budget: MemoryBudget, weight: int) -> bool:
    return budget._book(weight) == 0


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0, 30)), max_size=60))
@settings(deadline=None)
def test_no_window_holds_more_than_the_share(steps: list[tuple[int, float]]) -> None:
    clock = Clock()
    budget = MemoryBudget(BudgetLimit(100, 60.0, 0.9), clock=clock)
    used: dict[int, int] = {}
    for weight, passed in steps:
        clock.now += passed
        if tried(budget, weight):
            window = int(clock.now // 60)
            used[window] = used.get(window, 0) + weight
    assert all(total <= 90 for total in used.values())


async def test_the_header_wins_when_it_states_more() -> None:
    clock = Clock()
    budget = MemoryBudget(BudgetLimit(100, 60.0, 0.9), clock=clock)
    clock.now += 20
    assert tried(budget, 10)
    await budget.report(85)  # someone else on our address
    assert not tried(budget, 10)
    await budget.report(3)  # older than what is in flight
    assert budget.used == 85
    clock.now += 60
    assert tried(budget, 10)


async def test_a_slower_venue_clock_costs_a_second_not_a_window() -> None:
    clock = Clock()
    clock.now = 60.0 * 100
    budget = MemoryBudget(BudgetLimit(100, 60.0, 0.9), clock=clock)
    assert tried(budget, 88)
    clock.now += 60.1  # our window turned, the venue's not yet
    assert tried(budget, 2)
    await budget.report(90)
    assert not tried(budget, 2)
    clock.now += 1.1
    assert tried(budget, 2)


async def test_a_pause_holds_everyone_and_a_shorter_one_does_not_end_it() -> None:
    clock = Clock()
    budget = MemoryBudget(clock=clock)
    await budget.pause(30)
    await budget.pause(1)
    clock.now += 29
    assert not tried(budget, 0)
    clock.now += 1.1
    assert tried(budget, 1)


async def test_a_request_heavier_than_the_allowance_goes_alone() -> None:
    budget = MemoryBudget(BudgetLimit(10, 60.0, 0.9), clock=Clock())
    assert tried(budget, 20)
    assert not tried(budget, 1)


@given(st.lists(st.sampled_from([1, 2, 4, 20]), min_size=200, max_size=600), st.floats(0, 59))
@settings(deadline=None)
def test_under_pressure_nearly_all_of_the_share_is_used(weights: list[int], begun: float) -> None:
    clock = Clock()
    clock.now += begun
    budget = MemoryBudget(BudgetLimit(200, 60.0, 0.9), clock=clock)
    used: dict[int, int] = {}
    for weight in weights:
        while (wait := budget._book(weight)) > 0:
            clock.now += wait
        used[int(clock.now // 60)] = used.get(int(clock.now // 60), 0) + weight
    whole = list(used.values())[:-1]
    assert all(180 - 19 <= total <= 180 for total in whole)


async def test_concurrent_callers_wait_for_the_next_window() -> None:
    budget = MemoryBudget(BudgetLimit(1000, 0.2, 0.9))
    begun = time.monotonic()

    async def spend() -> None:
        for _ in range(40):
            await budget.acquire(10)

    await asyncio.gather(*(spend() for _ in range(12)))
    assert budget.booked == 4800
    assert time.monotonic() - begun > 0.8 - 0.01  # 4800 at 900 a window touches six windows, four of them whole


async def test_the_limit_may_change_while_running() -> None:
    budget = MemoryBudget(BudgetLimit(100, 60.0, 0.9), clock=Clock())
    assert tried(budget, 50)
    await budget.limit(BudgetLimit(50, 60.0, 0.9))
    assert not tried(budget, 1)
    await budget.limit(BudgetLimit(1000, 60.0, 0.9))
    assert tried(budget, 800)
