"""Runs coroutines ahead of their consumer: concurrently, with results in order, and bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, Generic, TypeVar

T = TypeVar("T")
K = TypeVar("K")


class FailureAction(Enum):
    """What happens to the other jobs after a failure."""

    #: raise the error, which ends all jobs
    RAISE = auto()
    #: skip the rest of the job's group
    DROP_GROUP = auto()
    #: skip only this job
    SKIP = auto()


@dataclass(frozen=True, slots=True)
class Job(Generic[K, T]):
    """A coroutine function of the group ``key``, for a ``span`` (UTC) if any. Its result has about ``size`` rows."""

    key: K
    size: int
    run: Callable[[], Coroutine[Any, Any, T]]
    span: tuple[datetime, datetime] | None = None


async def prefetch(
    jobs: Iterable[Job[K, T]],
    *,
    max_jobs: int,
    max_rows: int,
    failed: Callable[[Job[K, T], Exception], FailureAction] | None = None,
) -> AsyncGenerator[T, None]:
    """Yield the results in the order of ``jobs``.

    At most ``max_jobs`` jobs with ``max_rows`` rows are started and not yet consumed. A job that raises ends all jobs,
    unless ``failed(job, error)`` returns another action.
    """
    waiting: deque[tuple[Job[K, T], asyncio.Task[T]]] = deque()
    source = iter(jobs)
    dropped: set[K] = set()
    rows = 0
    upcoming = next(source, None)
    try:
        while waiting or upcoming is not None:
            while upcoming is not None and (
                not waiting or (len(waiting) < max_jobs and rows + upcoming.size <= max_rows)
            ):
                if upcoming.key not in dropped:
                    waiting.append((upcoming, asyncio.ensure_future(upcoming.run())))
                    rows += upcoming.size
                upcoming = next(source, None)
            if not waiting:
                continue
            job, task = waiting.popleft()
            try:
                if job.key in dropped:
                    await _cancel([task])
                else:
                    yield await task
            except Exception as error:
                action = failed(job, error) if failed is not None and _raised_by(task, error) else FailureAction.RAISE
                if action is FailureAction.RAISE:
                    raise
                if action is FailureAction.DROP_GROUP:
                    dropped.add(job.key)
            finally:
                rows -= job.size
    finally:
        await _cancel([task for _, task in waiting])


def _raised_by(task: asyncio.Task[T], error: Exception) -> bool:
    """Whether the task raised the error, and not the consumer."""
    return task.done() and not task.cancelled() and task.exception() is error


async def _cancel(tasks: list[asyncio.Task[T]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
