"""Answers kept: each is computed once at a time, believed while nothing was heard to change, and says how old it is."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from crypto_pipeline.reading.answer import Answer
from crypto_pipeline.store.coordination.notifications import Changes, Series
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import DatabaseAwayError

T = TypeVar("T")

#: Seconds after which a listener that proved nothing is not believed.
HEARING = 3.0
#: An answer may be served stale, while the database is away, up to so many times its time to live.
STALE_TIMES = 3.0
#: What an entry costs besides its value.
_OVERHEAD = 2_000


@dataclass
class CacheStats:
    """What became of the questions. ``validated``: asked the database only whether the answer still holds."""

    hits: int = 0
    validated: int = 0
    misses: int = 0
    #: Waited for the same question of somebody else.
    joined: int = 0
    stale: int = 0
    evicted: int = 0
    entries: int = 0
    bytes: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of the questions that read no bars."""
        asked = self.hits + self.validated + self.misses + self.joined + self.stale
        return (asked - self.misses) / asked if asked else 0.0

    def as_dict(self) -> dict[str, float]:
        """For reports."""
        return {**asdict(self), "hit_rate": round(self.hit_rate, 4)}


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T
    series: Collection[Series]
    version: str | None
    seen: int
    known_at: float
    size: int


class Cache:
    """Thread-safe, bounded by bytes (the entry that was longest not asked for goes first)."""

    def __init__(self, changes: Changes, most_bytes: int) -> None:
        self._changes, self._most = changes, most_bytes
        self.after_fork()
        fork_safety.renew_in_children(self)

    def after_fork(self) -> None:
        """Begin empty: also in a forked child, where nobody computes what the parent's threads were computing."""
        self.stats = CacheStats()
        self._entries: OrderedDict[Hashable, _Entry[Any]] = OrderedDict()
        self._flights: dict[Hashable, Future[Answer[Any]]] = {}
        self._lock = threading.Lock()

    def peek(self, key: Hashable, ttl: float) -> Answer[Any] | None:
        """The kept answer, if nothing has to be asked to believe it. Never waits: also for an event loop."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        now = time.monotonic()
        heard = self._changes.complete_at()
        if now - heard > HEARING or now - entry.known_at > ttl or self._changes.since(entry.seen, entry.series):
            return None
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            self.stats.hits += 1
        return _answer(entry, max(heard, entry.known_at), hit=True)

    def get(
        self,
        key: Hashable,
        ttl: float,
        series: Callable[[], Collection[Series]],
        compute: Callable[[], T],
        size: Callable[[T], int],
        version: Callable[[], str] | None = None,
    ) -> Answer[T]:
        """The answer: kept, or validated by ``version``, or computed, by one caller at a time.

        While the database is away (DatabaseAwayError) a kept answer is given as stale, until it is STALE_TIMES its time
        to live old.
        """
        kept = self.peek(key, ttl)
        if kept is not None:
            return kept
        self._changes.start()  # a forked child begins to listen with its first question
        with self._lock:
            flight = self._flights.get(key)
            mine = flight is None
            if flight is None:
                flight = self._flights[key] = Future()
            else:
                self.stats.joined += 1
        if not mine:
            try:
                return flight.result()
            except _InterruptedError:
                return self.get(key, ttl, series, compute, size, version)
        try:
            answer = self._ask(key, ttl, series, compute, size, version)
        except BaseException as error:
            self._landed(key)
            # a signal to the thread that asks is not one to those who wait for its answer
            flight.set_exception(error if isinstance(error, Exception) else _InterruptedError())
            raise
        self._landed(key)
        flight.set_result(answer)
        return answer

    def _landed(self, key: Hashable) -> None:
        with self._lock:
            del self._flights[key]

    def clear(self) -> None:
        """Forget every answer."""
        with self._lock:
            self._entries.clear()
            self.stats.bytes = self.stats.entries = 0

    def _ask(
        self,
        key: Hashable,
        ttl: float,
        series: Callable[[], Collection[Series]],
        compute: Callable[[], T],
        size: Callable[[T], int],
        version: Callable[[], str] | None,
    ) -> Answer[T]:
        entry: _Entry[T] | None = self._entries.get(key)
        # all three before the tables are asked: what is committed meanwhile must count as later
        seen, begun = self._changes.count(), time.monotonic()
        try:
            current = version() if version is not None else None
            if entry is not None and current is not None and current == entry.version:
                entry.seen, entry.known_at = seen, begun
                with self._lock:
                    self.stats.validated += 1
                return _answer(entry, begun, hit=True)
            value = compute()
            watched = series()
        except DatabaseAwayError:
            if entry is None or time.monotonic() - entry.known_at > STALE_TIMES * ttl:
                raise
            with self._lock:
                self.stats.stale += 1
            return _answer(entry, entry.known_at, hit=True, stale=True)
        fresh = _Entry(value, watched, current, seen, begun, size(value) + _OVERHEAD)
        self._keep(key, fresh)
        return _answer(fresh, begun, hit=False)

    def _keep(self, key: Hashable, fresh: _Entry[Any]) -> None:
        with self._lock:
            self.stats.misses += 1
            old = self._entries.pop(key, None)
            self.stats.bytes -= old.size if old is not None else 0
            if fresh.size <= self._most:
                self._entries[key] = fresh
                self.stats.bytes += fresh.size
            while self.stats.bytes > self._most:
                _, gone = self._entries.popitem(last=False)
                self.stats.bytes -= gone.size
                self.stats.evicted += 1
            self.stats.entries = len(self._entries)


class _InterruptedError(Exception):
    """Whoever was asking was interrupted: ask again."""


def _answer(entry: _Entry[T], known_at: float, *, hit: bool, stale: bool = False) -> Answer[T]:
    as_of = datetime.now(UTC) - timedelta(seconds=time.monotonic() - known_at)
    return Answer(entry.value, as_of, stale, hit, entry.version)
