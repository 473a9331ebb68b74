"""Request budget of a venue, shared by all processes, in the table ``ops.venue_budgets``.

A venue counts per fixed window (Binance: the minute). Each process reserves a block of the current window's weight in
one atomic statement and spends it without further round trips; what it does not spend by the window's end is forfeited,
so blocks get smaller as the window empties. Windows follow PostgreSQL's clock, the one clock that all processes share.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from psycopg import Connection
from psycopg.rows import class_row

from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.pool import Connections

T = TypeVar("T")


class Limit(Protocol):
    """A venue's limit: at most ``limit`` weight per ``window`` seconds; we use ``share`` of it."""

    @property
    def limit(self) -> int:
        """Weight per window that the venue allows."""

    @property
    def window(self) -> float:
        """Seconds."""

    @property
    def share(self) -> float:
        """Part of the limit that we use."""


#: Greatest share of the limit in a block. The first block of a process is the smallest and each further one doubles,
#: because many processes need one request only (a sensor reads the venue's clock), and unused weight is lost.
_BLOCK, _FIRST_BLOCK = 0.05, 0.002
#: seconds within which a process notices another one's pause
_LOOK = 0.5
#: if headers still have the old count this long after our window changed, the venue's clock is behind
_SKEW = 5.0

# The row is locked before the clock is read, so that no process books into a window that has ended.
_STATE = """
WITH held AS MATERIALIZED (SELECT * FROM ops.venue_budgets WHERE venue = %(venue)s FOR UPDATE),
timed AS MATERIALIZED (
    SELECT held.*, extract(epoch FROM clock_timestamp())::float8 AS t FROM held),
turned AS (
    SELECT timed.*, floor(window_limit * share)::int AS allowed,
           greatest(window_index, floor((t - phase) / window_seconds)::bigint) AS index FROM timed),
state AS (
    SELECT turned.*, CASE WHEN index > window_index THEN 0 ELSE used END AS booked,
           CASE WHEN index > window_index THEN used ELSE used_before END AS before,
           greatest(0, extract(epoch FROM paused_until)::float8 - t) AS pause,
           t - index * window_seconds - phase AS elapsed FROM turned)"""

_RESERVE = f"""{_STATE},
answer AS (
    SELECT state.*, CASE
        WHEN pause > 0 THEN 0
        -- heavier than the whole allowance: alone in a fresh window rather than never
        WHEN booked + %(weight)s <= ours OR booked = 0
            THEN greatest(%(weight)s, least((window_limit * %(block)s)::int, (ours - booked) / 4))
        ELSE 0 END AS granted FROM (SELECT *, floor(allowed * (1 - %(keep)s::float8))::int AS ours FROM state) AS state)
UPDATE ops.venue_budgets b
SET window_index = a.index, used = a.booked + a.granted, used_before = a.before
FROM answer a WHERE b.venue = a.venue
RETURNING a.granted::int, (a.booked + a.granted)::int AS booked, a.pause, a.window_seconds - a.elapsed AS remaining,
          a.window_limit AS stated, a.allowed"""  # noqa: S608  (put together from constants)

_REPORT = f"""{_STATE},
answer AS (
    SELECT state.*, elapsed < %(skew)s AND before > 0 AND %(used)s > before AND %(used)s > booked AS behind FROM state)
UPDATE ops.venue_budgets b
SET used = greatest(a.booked, %(used)s),
    -- the venue is still in its old window: so are we, for one second more
    phase = CASE WHEN a.behind THEN a.phase + a.elapsed + 1 ELSE a.phase END,
    window_index = CASE WHEN a.behind THEN a.index - 1 ELSE a.index END,
    used_before = a.before
FROM answer a WHERE b.venue = a.venue AND (a.booked < %(used)s OR a.index > a.window_index)
RETURNING b.used"""  # noqa: S608  (put together from constants)

_OPEN = """
INSERT INTO ops.venue_budgets (venue, window_limit, window_seconds, share)
VALUES (%(venue)s, %(limit)s, %(window)s, %(share)s) ON CONFLICT (venue) DO NOTHING"""

_LIMIT = """
INSERT INTO ops.venue_budgets AS b (venue, window_limit, window_seconds, share)
VALUES (%(venue)s, %(limit)s, %(window)s, %(share)s)
ON CONFLICT (venue) DO UPDATE SET
    window_limit = excluded.window_limit, window_seconds = excluded.window_seconds, share = excluded.share,
    window_index = CASE WHEN b.window_seconds = excluded.window_seconds THEN b.window_index
        ELSE floor((extract(epoch FROM clock_timestamp()) - b.phase) / excluded.window_seconds)::bigint END
WHERE (b.window_limit, b.window_seconds, b.share)
    IS DISTINCT FROM (excluded.window_limit, excluded.window_seconds, excluded.share)"""

_PAUSE = """
UPDATE ops.venue_budgets
SET paused_until = greatest(paused_until, clock_timestamp() + make_interval(secs => %(seconds)s))
WHERE venue = %(venue)s"""

_PAUSED = """
SELECT greatest(0, extract(epoch FROM paused_until - clock_timestamp()))::float8
FROM ops.venue_budgets WHERE venue = %s AND paused_until IS NOT NULL"""


@dataclass(frozen=True, slots=True)
class _Answer:
    """Result of a statement on the budget's row."""

    granted: int
    booked: int
    pause: float
    remaining: float
    stated: int
    allowed: int


class PostgresBudget:
    """One venue's budget in this process. Safe for any number of threads and event loops."""

    def __init__(
        self, connections: Connections, name: str, *, limit: int = 6000, window: float = 60.0, keep: float = 0.0
    ) -> None:
        self.name = name
        #: share of the allowance that this object leaves to others
        self.keep = keep
        self._connections = connections
        self._first = {"venue": name, "limit": limit, "window": window, "share": 0.9}
        self._known = False
        self._stated = limit
        self._allowed = int(limit * 0.9)
        self.after_fork()
        self._block_ends = 0.0  # by the monotonic clock, like all times here
        self._looked = 0.0
        self._closed_until = 0.0
        self._account = 0  # the used weight when last read
        self._share = _FIRST_BLOCK
        #: Weight spent through this object: for metrics and tests.
        self.booked = 0
        fork_safety.renew_in_children(self)

    def after_fork(self) -> None:
        """Begin without a block: in a forked child too, because the parent spends its reservation."""
        self._lock = threading.Lock()
        self._block = 0  # reserved but not spent yet

    async def acquire(self, weight: int) -> None:
        """Wait until ``weight`` may be spent, then book it."""
        while True:
            wait = self._spend(weight)
            if wait is None:
                wait = await asyncio.to_thread(self._reserve, weight)
            if wait <= 0:
                return
            # a short wait only, because the limit may rise or the window change meanwhile
            await asyncio.sleep(min(wait, 5.0) + random.uniform(0, 0.02))

    async def report(self, used: int) -> None:
        """Take the used weight from the venue's header, if it is more than was booked."""
        at_least = await self._locked(lambda: self._note(used))
        if at_least is not None:
            await asyncio.to_thread(self._run, _REPORT, used=at_least, skew=_SKEW)

    def _note(self, used: int) -> int | None:
        """The least used weight for the row; None if it is known already, which saves a round trip."""
        if used + self._unspent() > self._allowed:
            self._block = 0  # another process spends the same weight: our reservation is void
        at_least = used + self._unspent()
        if at_least <= self._account + self._stated // 100:
            return None
        self._account = at_least
        return at_least

    async def limit(self, limit: Limit) -> None:
        """Take over the limit that the venue states."""
        await asyncio.to_thread(
            self._run, _LIMIT, limit=limit.limit, window=float(limit.window), share=float(limit.share)
        )
        self._stated, self._allowed = limit.limit, int(limit.limit * limit.share)
        self._known = True

    async def pause(self, seconds: float) -> None:
        """Stop the requests of all processes for ``seconds``; other processes notice within half a second."""
        until = time.monotonic() + seconds
        await self._locked(lambda: self._close(until))
        await asyncio.to_thread(self._run, _PAUSE, seconds=float(seconds))

    def _close(self, until: float) -> None:
        self._closed_until = max(self._closed_until, until)

    async def _locked(self, work: Callable[[], T]) -> T:
        """Run ``work()`` under the lock. If a thread holds the lock, because the database is slow, wait in a thread."""
        if self._lock.acquire(blocking=False):
            try:
                return work()
            finally:
                self._lock.release()

        def wait() -> T:
            with self._lock:
                return work()

        return await asyncio.to_thread(wait)

    # -- this process's block --------------------------------------------------------------------------------------

    def _spend(self, weight: int) -> float | None:
        """Spend from the block: 0, or the seconds to wait, or None if the database must be asked."""
        if not self._lock.acquire(blocking=False):
            return None  # another thread asks the database now
        try:
            now = time.monotonic()
            if now < self._closed_until:
                return self._closed_until - now
            if now - self._looked > _LOOK or self._unspent() < weight:
                return None
            self._take(weight)
            return 0.0
        finally:
            self._lock.release()

    def _reserve(self, weight: int) -> float:
        """Reserve a large enough block and spend from it: 0, or the seconds to wait."""
        with self._lock:
            now = time.monotonic()
            if now < self._closed_until:
                return self._closed_until - now
            missing = max(0, weight - self._unspent())
            if missing == 0 and now - self._looked <= _LOOK:  # another thread reserved a block meanwhile
                self._take(weight)
                return 0.0
            answer = self._ask(missing)
            self._looked = now
            self._account, self._stated, self._allowed = answer.booked, answer.stated, answer.allowed
            if answer.pause > 0:
                self._closed_until = now + answer.pause
                return answer.pause
            # measured from before the query, so it ends no later than the window in the database
            unspent, self._block_ends = self._unspent(), now + answer.remaining
            overdrawn = answer.granted == 0 and answer.booked > answer.allowed
            if overdrawn or answer.granted < missing:
                self._block = 0 if overdrawn else unspent
                return max(answer.remaining, 0.001)
            self._block = unspent + answer.granted
            self._take(weight)
            return 0.0

    def _unspent(self) -> int:
        if time.monotonic() >= self._block_ends:
            self._block = 0
        return self._block

    def _take(self, weight: int) -> None:
        self._block -= weight
        self.booked += weight

    # -- the row in the database ------------------------------------------------------------------------------------

    def _ask(self, weight: int) -> _Answer:
        self._open_account()

        block = self._share if weight else 0.0
        if weight:
            self._share = min(_BLOCK, 2 * self._share)
        values = {"venue": self.name, "weight": weight, "block": block, "keep": self.keep}

        def ask(connection: Connection) -> _Answer:
            with connection.cursor(row_factory=class_row(_Answer)) as cursor:
                cursor.execute(_RESERVE, values)
                answer = cursor.fetchone()
                assert answer is not None
                return answer

        return self._connections.run(ask)

    def _open_account(self) -> None:
        if not self._known:
            self._connections.run(lambda connection: connection.execute(_OPEN, self._first) and None)
            self._known = True

    def _run(self, statement: str, **values: float) -> None:
        if statement is not _LIMIT:
            self._open_account()
        self._connections.run(lambda connection: connection.execute(statement, {"venue": self.name, **values}) and None)


class Budgets:
    """The budgets of all venues."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._open: dict[tuple[str, float], PostgresBudget] = {}

    def of(self, venue: str, *, keep: float = 0.0) -> PostgresBudget:
        """The venue's budget, the same object for each call, so that a process has at most one block.

        ``keep`` is the share of the allowance that the caller leaves to others: a backfill never uses the last requests
        of a minute, so that live requests do not wait.
        """
        return self._open.setdefault((venue, keep), PostgresBudget(self._connections, venue, keep=keep))

    def paused(self, venue: str) -> float:
        """Seconds until the pause that the venue demanded of all processes is over; 0 without a pause."""
        rows = self._connections.rows(_PAUSED, [venue])
        return float(rows[0][0]) if rows else 0.0
