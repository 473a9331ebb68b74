"""Small questions of many threads, asked together: one round trip and one frame for all that wait.

A question that finds nothing under way is asked at once and alone, so whoever is the only one waits for nobody. While
it is under way others come; they wait, first come first served, and the first of them asks for all of its kind that
wait by then. Nobody who comes later waits for a round that is stuck. The answered ones are woken one after the other,
each by the one before: so a hundred threads do not keep each other from the interpreter, which runs one at a time.
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

#: Rounds at once. Measured on two processors: with one the server waits while frames are made; more make the groups
#: smaller. A round that is older than so many seconds is stuck: beside such there may be others, up to so many.
AT_ONCE, SLOW, MOST_AT_ONCE = 2, 0.05, 6


class _Waiter(Generic[Q, A]):
    """One thread's place in the queue. The bell rings once: when it is answered, or has to ask itself."""

    def __init__(self, kind: Hashable, question: Q, size: int) -> None:
        self.kind, self.question, self.size = kind, question, size
        self.answers: list[A] = []
        self.error: BaseException | None = None
        #: Whether it has to ask; whether its bell rang; whether nobody waits at it any more.
        self.leads = self.woken = self.gone = False
        #: Whom to wake once it was woken.
        self.following: _Waiter[Q, A] | None = None
        self.since = time.monotonic()
        self.event = threading.Lock()
        self.event.acquire()


class QueryCoalescer(Generic[Q, A]):
    """``work`` answers questions of one kind, in their order, together no larger than ``most``. Thread-safe.

    An error of several questions is nobody's yet: each is asked again alone, so that one cannot spoil the others'
    answer. Only that the database is away concerns all who were asked for, and all who waited ``patience`` seconds.
    """

    def __init__(
        self, work: Callable[[Sequence[Q]], Sequence[A]], patience: float, most: int, at_once: int = AT_ONCE
    ) -> None:
        self._work, self._patience, self._at_once, self._most = work, patience, at_once, most
        #: Questions so far, and how often they were asked together or alone.
        self.questions = self.rounds = 0
        self.after_fork()
        fork_safety.renew_in_children(self)

    def after_fork(self) -> None:
        """Nobody waits, nothing is under way: also in a forked child, whose other threads stayed with the parent."""
        self._lock = threading.Lock()
        self._queue: deque[_Waiter[Q, A]] = deque()
        #: When each round that is under way began.
        self._rounds: list[float] = []

    def ask(self, kind: Hashable, question: Q, size: int = 1) -> A:
        """The answer to ``question``, asked alone or with others of the same ``kind``."""
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
        """Ask for all that wait with a question of the same kind."""
        group = [mine]
        try:
            group += self._like(mine)
            for place, answer in zip(group, self._work([place.question for place in group]), strict=True):
                place.answers.append(answer)
        except BaseException as error:
            if isinstance(error, DatabaseAwayError):
                group += self._impatient()
            for place in group:
                place.error = error
            if len(group) == 1 or not isinstance(error, Exception):
                raise
        finally:
            for place, following in pairwise(group):
                place.following = following

    def _leave(self, mine: _Waiter[Q, A]) -> None:
        """Pass on whatever another waits for: the turn to ask, and the bell."""
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
        """Whether another round may begin: few are under way that are likely to end soon."""
        if len(self._rounds) < self._at_once:
            return True
        late = time.monotonic() - SLOW
        return len(self._rounds) < MOST_AT_ONCE and sum(since >= late for since in self._rounds) < self._at_once

    def _begin(self, place: _Waiter[Q, A]) -> None:
        place.leads, place.since = True, time.monotonic()
        self._rounds.append(place.since)

    def _like(self, mine: _Waiter[Q, A]) -> list[_Waiter[Q, A]]:
        """Who waits with a question of the same kind, as many as fit; they are in the queue no longer."""
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

    def _impatient(self) -> list[_Waiter[Q, A]]:
        """Those who have waited too long to wait for one more attempt; they are in the queue no longer."""
        until = time.monotonic() - self._patience
        with self._lock:
            gone = [place for place in self._queue if place.since <= until]
            self._queue = deque(place for place in self._queue if place.since > until)
        return gone
