"""Questions of many threads asked together: everybody gets their own answer, in order, and nobody is forgotten."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from crypto_pipeline.store.database import coalescer as module
from crypto_pipeline.store.database.coalescer import QueryCoalescer
from crypto_pipeline.store.database.errors import DatabaseAwayError


class Slow:
    """Squares numbers, once it is let; remembers who was asked with whom."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.go = threading.Semaphore(0)
        self.fail: Callable[[Sequence[int]], None] = lambda numbers: None

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.groups.append(list(numbers))
        assert self.go.acquire(timeout=10)
        self.fail(numbers)
        return [number * number for number in numbers]


def waiting(coalescer: QueryCoalescer[int, int], count: int) -> None:
    deadline = time.monotonic() + 10
    while len(coalescer._queue) != count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def queued(
    threads: ThreadPoolExecutor, coalescer: QueryCoalescer[int, int], slow: Slow, kinds: Sequence[str]
) -> list[Future[int]]:
    """Number 0 is under way; those from 1 on wait, in order."""
    found = [threads.submit(coalescer.ask, "a", 0)]
    while not slow.groups:
        time.sleep(0.001)
    for number, kind in enumerate(kinds, 1):
        found.append(threads.submit(coalescer.ask, kind, number))
        waiting(coalescer, number)
    return found


def test_who_waits_is_asked_together_first_come_first_served() -> None:
    slow = Slow()
    coalescer = QueryCoalescer(slow, 1.0, most=4, at_once=1)
    with ThreadPoolExecutor(16) as threads:
        found = queued(threads, coalescer, slow, "aababaaa")
        slow.go.release(100)
        assert [each.result(10) for each in found] == [number**2 for number in range(9)]
    assert slow.groups == [[0], [1, 2, 4, 6], [3, 5], [7, 8]]
    assert (coalescer.questions, coalescer.rounds) == (9, 4)
    assert coalescer.ask("a", 12) == 144
    assert slow.groups[-1] == [12]


def test_nobody_who_comes_later_waits_for_one_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW", 0.01)
    slow = Slow()
    coalescer = QueryCoalescer(slow, 1.0, most=10, at_once=1)
    with ThreadPoolExecutor(16) as threads:
        found = [threads.submit(coalescer.ask, "a", 0)]
        while not slow.groups:
            time.sleep(0.001)
        time.sleep(0.02)  # that is what makes it stuck
        found.append(threads.submit(coalescer.ask, "a", 1))
        while len(slow.groups) < 2:
            time.sleep(0.001)
        found.append(threads.submit(coalescer.ask, "a", 2))
        waiting(coalescer, 1)
        slow.go.release(100)
        assert [each.result(10) for each in found] == [0, 1, 4]
    assert slow.groups == [[0], [1], [2]]


def test_one_that_fails_spoils_nobodys_answer() -> None:
    slow = Slow()

    def fail(numbers: Sequence[int]) -> None:
        if 2 in numbers:
            raise ValueError("two")

    slow.fail = fail
    coalescer = QueryCoalescer(slow, 1.0, most=10, at_once=1)
    with ThreadPoolExecutor(16) as threads:
        found = queued(threads, coalescer, slow, "aaa")
        slow.go.release(100)
        assert [found[number].result(10) for number in (0, 1, 3)] == [0, 1, 9]
        with pytest.raises(ValueError, match="two"):
            found[2].result(10)
        assert threads.submit(coalescer.ask, "a", 5).result(10) == 25


def test_that_the_database_is_away_is_told_to_all_who_have_waited_long_enough() -> None:
    slow = Slow()

    def away(numbers: Sequence[int]) -> None:
        raise DatabaseAwayError("away for a while")

    slow.fail = away
    coalescer = QueryCoalescer(slow, 0.0, most=1, at_once=1)
    with ThreadPoolExecutor(16) as threads:
        found = queued(threads, coalescer, slow, "abab")
        slow.go.release()  # one attempt is enough for all
        for each in found:
            with pytest.raises(DatabaseAwayError, match="away for a while"):
                each.result(10)
        patient = QueryCoalescer(slow, 60.0, most=1, at_once=1)
        slow.groups.clear()
        found = queued(threads, patient, slow, "a")
        slow.go.release()
        with pytest.raises(DatabaseAwayError):
            found[0].result(10)
        slow.fail = lambda numbers: None
        slow.go.release()
        assert found[1].result(10) == 1


def test_nobody_waits_for_one_who_was_interrupted() -> None:
    slow = Slow()
    coalescer = QueryCoalescer(slow, 1.0, most=10, at_once=1)
    with ThreadPoolExecutor(16) as threads:
        found = queued(threads, coalescer, slow, "a")

        def interrupt() -> None:
            waiting(coalescer, 2)
            found.append(threads.submit(coalescer.ask, "a", 3))
            waiting(coalescer, 3)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            interrupted = threads.submit(interrupt)
            with pytest.raises(KeyboardInterrupt):
                coalescer.ask("a", 2)
        finally:
            signal.signal(signal.SIGINT, previous)
        interrupted.result(10)
        slow.go.release(100)
        assert [each.result(10) for each in found] == [0, 1, 9]
    assert slow.groups == [[0], [1, 3]]


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_in_a_crowd_everybody_gets_their_own_answer(at_once: int) -> None:
    def work(numbers: Sequence[int]) -> list[int]:
        time.sleep(1e-4)  # as one who waits for a server, so that others come meanwhile
        if any(number % 97 == 0 for number in numbers):
            raise ValueError("97")
        return [number * number for number in numbers]

    coalescer = QueryCoalescer(work, 1.0, most=7, at_once=at_once)

    def ask(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(60):
            number = rng.randrange(10_000)
            if number % 97:
                assert coalescer.ask(number % 3, number) == number * number
            else:
                with pytest.raises(ValueError, match="97"):
                    coalescer.ask(number % 3, number)

    with ThreadPoolExecutor(24) as threads:
        list(threads.map(ask, range(24)))
    assert coalescer.rounds < coalescer.questions == 24 * 60
    assert coalescer._rounds == []
