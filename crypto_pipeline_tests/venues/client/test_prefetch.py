"""Running ahead: in order, bounded, failures per group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.venues.client.prefetch import FailureAction, Job, prefetch


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 30), st.booleans()), max_size=40),
    st.integers(1, 8),
    st.integers(1, 60),
    st.sampled_from([FailureAction.DROP_GROUP, FailureAction.SKIP]),
)
@settings(deadline=None)
def test_order_bounds_and_failures(
    work: list[tuple[int, int, bool]], max_jobs: int, max_rows: int, fate: FailureAction
) -> None:
    begun: list[int] = []
    taken = 0
    told: list[int] = []

    def job(number: int, key: int, size: int, bad: bool) -> Job[int, int]:
        async def run() -> int:
            begun.append(number)
            for _ in range(number % 3):
                await asyncio.sleep(0)
            if bad:
                raise LookupError(number)
            return number

        return Job(key, size, run)

    async def all_of_it() -> list[int]:
        nonlocal taken
        results: list[int] = []
        jobs = [job(number, *spec) for number, spec in enumerate(work)]

        def failed(job: Job[int, int], _: Exception) -> FailureAction:
            told.append(job.key)
            return fate

        async for number in prefetch(jobs, max_jobs=max_jobs, max_rows=max_rows, failed=failed):
            results.append(number)
        return results

    results = asyncio.run(all_of_it())
    expected, failed = [], []
    for number, (key, _, bad) in enumerate(work):
        if key in failed and fate is FailureAction.DROP_GROUP:
            continue
        if bad:
            failed.append(key)
        else:
            expected.append(number)
    assert results == expected
    assert told == failed


async def test_a_slow_consumer_bounds_what_is_begun() -> None:
    begun = 0

    async def run() -> int:
        nonlocal begun
        begun += 1
        return begun

    results: AsyncIterator[int] = prefetch((Job(0, 10, run) for _ in range(100)), max_jobs=7, max_rows=50)
    await anext(results)
    for _ in range(20):
        await asyncio.sleep(0)
    assert begun == 5  # rows bind before jobs do


async def test_failure_ends_it_and_cancels_the_rest() -> None:
    cancelled = asyncio.Event()

    async def bad() -> int:
        raise LookupError("no")

    async def long() -> int:
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    jobs = [Job(0, 1, bad), Job(1, 1, long)]

    async def consume() -> None:
        async for _ in prefetch(jobs, max_jobs=4, max_rows=10):
            raise AssertionError

    with pytest.raises(LookupError):
        await consume()
    # the second had begun only if the loop came to it
    assert cancelled.is_set() or len(asyncio.all_tasks()) == 1
