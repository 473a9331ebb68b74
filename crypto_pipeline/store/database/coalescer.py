"""Request coalescing: small queries of many threads become one round trip and one frame.

A query that comes while no round runs is sent at once and alone. Queries that come during a round wait in the order of
arrival. When another round may start, the first of them is sent together with all waiting queries of its kind. A round
that takes too long does not block later queries. Threads with an answer continue one after the other, each notified by
the previous one, so that a hundred threads do not compete for the interpreter at once.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import Generic, TypeVar

from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import DatabaseAwayError

Q = TypeVar("Q")
A = TypeVar("A")

#: Number of concurrent rounds. Measured on two processors: with one, the server is idle while frames are made; with
#: more, groups are smaller. Rounds that run longer than SLOW seconds do not count, up to MOST_AT_ONCE rounds in all.
AT_ONCE, SLOW, MOST_AT_ONCE = 2, 0.05, 6


class _Waiter(Generic[Q, A]):
    """One waiting thread. Its event is set once: when it has an answer, or when it must send the round itself."""

    def __init__(self, kind: Hashable, question: Q, size: int) -> None:
        self.kind, self.question, self.size = kind, question, size
        self.answers: list[A] = []
        self.error: BaseException | None = None
        #: Whether it must send the round; whether its event was set; whether its thread no longer waits.
        self.leads = self.woken = self.gone = False
        #: The waiter whose event this one sets next.
        self.following: _Waiter[Q, A] | None = None
        self.since = time.monotonic()
        self.event = threading.Lock()
        self.event.acquire()


class QueryCoalescer(Generic[Q, A]):
    """``work`` answers queries of one kind, in their order, whose sizes add up to at most ``most``. Thread-safe.

    After an error of a round of several queries, each query is sent again alone, so that one bad query does not affect
    the others. If the database does not answer, all queries of the round fail, and all that waited ``patience``
    seconds.
    """

    def __init__(
        self, work: Callable[[Sequence[Q]], Sequence[A]], patience: float, most: int, at_once: int = AT_ONCE
    ) -> None:
        self._work, self._patience, self._at_once, self._most = work, patience, at_once, most
        #: Number of queries and of rounds so far.
        self.questions = self.rounds = 0
        self.after_fork()
        fork_safety.renew_in_children(self)

    def after_fork(self) -> None:
        """Start empty: a forked child has none of the threads that wait or run rounds."""
        self._lock = threading.Lock()
        self._queue: deque[_Waiter[Q, A]] = deque()
        #: When each running round began.
        self._rounds: list[float] = []

    def ask(self, kind: Hashable, question: Q, size: int = 1) -> A:
        """The answer to ``question``, which is sent alone or with others of the same ``kind``."""
        mine: _Waiter[Q, A] = _Waiter(kind, question, size)
        try:
            with self._lock:
                self.questions += 1
                if self._free():
                    self._begin(mine)
                else:
                    self._queue.append(mine)
            if not mine.leads:
                mine.event.acquire()
            if mine.leads:
                self._lead(mine)
        finally:  # also of one that was interrupted
            self._leave(mine)
        if mine.answers:
            return mine.answers[0]
        if isinstance(mine.error, DatabaseAwayError):
            raise DatabaseAwayError(*mine.error.args)
        return self._work([question])[0]

    def _lead(self, mine: _Waiter[Q, A]) -> None:
        """Send the round: this query and all waiting ones of the same kind."""
        group = [mine]
        try:
            group += self._same_kind(mine)
            for place, answer in zip(group, self._work([place.question for place in group]), strict=True):
                place.answers.append(answer)
        except BaseException as error:
            if isinstance(error, DatabaseAwayError):
                group += self._expired()
            for place in group:
                place.error = error
            if len(group) == 1 or not isinstance(error, Exception):
                raise
        finally:
            for place, following in pairwise(group):
                place.following = following

    def _leave(self, mine: _Waiter[Q, A]) -> None:
        """Let the next query start a round, and notify the next thread."""
        with self._lock:
            mine.gone = True
            if not mine.woken and mine in self._queue:
                self._queue.remove(mine)
            if mine.leads:
                self._rounds.remove(mine.since)
                if self._queue and self._free():
                    following = self._queue.popleft()
                    following.woken = True
                    self._begin(following)
                    following.event.release()
        self._wake(mine.following)

    def _wake(self, place: _Waiter[Q, A] | None) -> None:
        while place is not None:
            with self._lock:
                if place.woken:
                    return
                place.woken = True
                place.event.release()
                if not place.gone:
                    return
            place = place.following

    def _free(self) -> bool:
        """Whether another round may begin."""
        if len(self._rounds) < self._at_once:
            return True
        late = time.monotonic() - SLOW
        return len(self._rounds) < MOST_AT_ONCE and sum(since >= late for since in self._rounds) < self._at_once

    def _begin(self, place: _Waiter[Q, A]) -> None:
        place.leads, place.since = True, time.monotonic()
        self._rounds.append(place.since)

    def _same_kind(self, mine: _Waiter[Q, A]) -> list[_Waiter[Q, A]]:
        """Take the waiting queries of the same kind out of the queue, as many as fit."""
        found, left, size = [], deque[_Waiter[Q, A]](), mine.size
        with self._lock:
            self.rounds += 1
            for place in self._queue:
                if place.kind == mine.kind and size + place.size <= self._most:
                    size += place.size
                    found.append(place)
                else:
                    left.append(place)
            self._queue = left
        return found

    def _expired(self) -> list[_Waiter[Q, A]]:
        """Take those out of the queue that have waited ``patience`` seconds."""
        until = time.monotonic() - self._patience
        with self._lock:
            gone = [place for place in self._queue if place.since <= until]
            self._queue = deque(place for place in self._queue if place.since > until)
        return gone
