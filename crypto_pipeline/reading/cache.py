"""A cache of answers: each is computed once at a time, used while no change is known, and states its age."""

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
from crypto_pipeline.reading.servers.read_servers import ReadRecord, one_server
from crypto_pipeline.store.coordination.notifications import BarNotifications, Series
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import DatabaseAwayError

T = TypeVar("T")

#: Seconds after which a listener that did not prove that it hears everything is not trusted.
HEARING = 3.0
#: While the database is away, an answer is given as stale up to so many times its time to live.
STALE_TIMES = 3.0
#: Bytes of an entry besides its value.
_OVERHEAD = 2_000


@dataclass
class CacheStats:
    """Counts of questions by outcome, and what is kept.

    Attributes:
        hits: Answered without the database.
        validated: The database was only asked whether the answer still holds.
        misses: Answered by reading bars.
        joined: Waited for the same question of another caller.
        stale: The kept answer no longer held.
        evicted: Answers that left to make room.
        entries: Answers that are kept.
        bytes: Their size.
    """

    hits: int = 0
    validated: int = 0
    misses: int = 0
    joined: int = 0
    stale: int = 0
    evicted: int = 0
    entries: int = 0
    bytes: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of the questions for which no bars were read, 0 to 1."""
        asked = self.hits + self.validated + self.misses + self.joined + self.stale
        return (asked - self.misses) / asked if asked else 0.0

    def as_dict(self) -> dict[str, float]:
        """The counts, JSON-ready."""
        return {**asdict(self), "hit_rate": round(self.hit_rate, 4)}


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T
    series: Collection[Series]
    version: str | None
    seen: int
    known_at: float
    size: int


@dataclass(frozen=True, slots=True)
class CacheRequest(Generic[T]):
    """What an answer is computed from."""

    key: Hashable
    #: seconds for which the answer may be used without asking the database
    ttl: float
    #: the series that the answer depends on
    series: Callable[[], Collection[Series]]
    compute: Callable[[], T]
    #: bytes of a value
    size: Callable[[T], int]
    #: a text that changes with the bars; None: there is none
    version: Callable[[], str] | None = None


class Cache:
    """A cache that is bounded by bytes: the least recently used entry is dropped first. Thread-safe."""

    def __init__(self, changes: BarNotifications, most_bytes: int) -> None:
        self._changes, self._most = changes, most_bytes
        self.after_fork()
        fork_safety.renew_in_children(self)

    def after_fork(self) -> None:
        """Begin empty; also in a forked child, where the parent's threads that were computing do not exist."""
        self.stats = CacheStats()
        self._entries: OrderedDict[Hashable, _Entry[Any]] = OrderedDict()
        self._flights: dict[Hashable, Future[Answer[Any]]] = {}
        self._lock = threading.Lock()

    def peek(self, key: Hashable, ttl: float) -> Answer[Any] | None:
        """The cached answer, if it can be used without asking the database. Never waits: also for event loops."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        now = time.monotonic()
        heard = self._changes.heard_everything_until()
        if now - heard > HEARING or now - entry.known_at > ttl or self._changes.since(entry.seen, entry.series):
            return None
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            self.stats.hits += 1
        return _answer(entry, max(heard, entry.known_at), hit=True)

    def get(self, request: CacheRequest[T]) -> Answer[T]:
        """The answer: cached, or validated by ``version``, or computed, by one caller at a time.

        While the database is away (DatabaseAwayError) a cached answer is given as stale, up to STALE_TIMES its time to
        live.
        """
        key = request.key
        kept = self.peek(key, request.ttl)
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
                return self.get(request)
        try:
            answer = self._ask(request)
        except BaseException as error:
            self._landed(key)
            # a signal that interrupts this thread must not interrupt those that wait for its answer
            flight.set_exception(error if isinstance(error, Exception) else _InterruptedError())
            raise
        self._landed(key)
        flight.set_result(answer)
        return answer

    def _landed(self, key: Hashable) -> None:
        with self._lock:
            del self._flights[key]

    def clear(self) -> None:
        """Drop every answer."""
        with self._lock:
            self._entries.clear()
            self.stats.bytes = self.stats.entries = 0

    def _ask(self, request: CacheRequest[T]) -> Answer[T]:
        key = request.key
        entry: _Entry[T] | None = self._entries.get(key)
        # before the tables are read: what is committed meanwhile must count as later
        seen, begun = self._changes.count(), time.monotonic()
        with one_server() as read:
            return self._ask_one(request, entry, seen, begun, read)

    def _ask_one(
        self, request: CacheRequest[T], entry: _Entry[T] | None, seen: int, begun: float, read: ReadRecord
    ) -> Answer[T]:
        """The answer from one server; that of a replica is of the moment that the record of the reads says."""
        try:
            current = request.version() if request.version is not None else None
            if entry is not None and current is not None and current == entry.version and not read.without_primary:
                seen, begun = read.known_since(seen, begun)
                if begun < entry.known_at:  # a replica, asked again, may say less than is known already
                    seen, begun = entry.seen, entry.known_at
                entry.seen, entry.known_at = seen, begun
                with self._lock:
                    self.stats.validated += 1
                return _answer(entry, begun, hit=True)
            value = request.compute()
            watched = request.series()
        except DatabaseAwayError:
            if entry is None or time.monotonic() - entry.known_at > STALE_TIMES * request.ttl:
                raise
            with self._lock:
                self.stats.stale += 1
            return _answer(entry, entry.known_at, hit=True, stale=True)
        seen, begun = read.known_since(seen, begun)
        if read.without_primary:  # the version may be of a later moment than the value
            current = None
        fresh = _Entry(value, watched, current, seen, begun, request.size(value) + _OVERHEAD)
        self._keep(request.key, fresh)
        return _answer(fresh, begun, hit=False, stale=read.without_primary)

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
    """The thread that was computing was interrupted: ask again."""


def _answer(entry: _Entry[T], known_at: float, *, hit: bool, stale: bool = False) -> Answer[T]:
    as_of = datetime.now(UTC) - timedelta(seconds=time.monotonic() - known_at)
    return Answer(entry.value, as_of, stale, hit, entry.version)
