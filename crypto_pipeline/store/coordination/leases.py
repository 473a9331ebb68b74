"""Leases: at most one process does a task, and a fencing token keeps a former holder from writing.

A paused process does not notice that its lease has expired. So a write under a lease checks in its own transaction that
the lease is still held, and locks the lease's row until the transaction ends. Another process cannot take the lease
meanwhile, and the former holder cannot commit afterwards.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import psycopg
from psycopg.rows import class_row

from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections

if TYPE_CHECKING:
    import polars as pl
    import sqlalchemy
    from adbc_driver_manager import dbapi

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

#: Seconds that the next holder waits for a transaction of a paused holder.
_STUCK = 3.0
#: Idle seconds after which the server ends a transaction.
_IDLE = 10.0

# One statement that returns a row while the lease is ours. The session's name lets a successor end the transaction of a
# paused process; the server itself ends an idle transaction.
_PROVE = """
SELECT set_config('application_name', %(session)s, true),
       set_config('idle_in_transaction_session_timeout', %(stuck)s, true)
FROM ops.leases
WHERE name = %(name)s AND token = %(token)s AND expires_at > clock_timestamp()
FOR KEY SHARE
"""

# Waits for all transactions that have checked the lease. Renewing it does not wait, because it does not change the key.
_HOLD = "SELECT FROM ops.leases WHERE name = %(name)s AND expires_at <= clock_timestamp() FOR UPDATE"

_TAKE = """
INSERT INTO ops.leases AS l (name, holder, token, expires_at)
VALUES (%(name)s, %(holder)s, 1, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, token = l.token + 1, acquired_at = clock_timestamp(), expires_at = excluded.expires_at,
    waiting = NULL, waiting_until = NULL
WHERE l.expires_at <= clock_timestamp()
RETURNING token
"""

_RENEW = """
UPDATE ops.leases SET expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE name = %(name)s AND token = %(token)s AND expires_at > clock_timestamp()
RETURNING CASE WHEN waiting_until > clock_timestamp() THEN waiting END
"""

_RELEASE = "UPDATE ops.leases SET expires_at = clock_timestamp() WHERE name = %(name)s AND token = %(token)s"

_END = """
UPDATE ops.leases SET expires_at = clock_timestamp() WHERE holder = %s AND expires_at > clock_timestamp()
"""

_WAIT = """
UPDATE ops.leases SET waiting = %(holder)s, waiting_until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE name = %(name)s
  AND (waiting IS NULL OR waiting = %(holder)s OR coalesce(waiting_until, '-infinity') < clock_timestamp())
"""

_END_STUCK = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE %(sessions)s
  AND xact_start < clock_timestamp() - make_interval(secs => %(stuck)s)
  AND EXISTS (SELECT FROM ops.leases WHERE name = %(name)s AND expires_at <= clock_timestamp())
"""

_ALL = """
SELECT name, holder, token, acquired_at, expires_at, expires_at > clock_timestamp() AS held,
       CASE WHEN waiting_until > clock_timestamp() THEN waiting END AS waiting
FROM ops.leases ORDER BY name
"""


class LeaseLost(StoreError):  # noqa: N818  (reads as the fact it states)
    """This process no longer holds the lease: nothing was written, and it must stop writing."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A held lease. Its token rises each time the lease is taken."""

    name: str
    holder: str
    token: int

    @property
    def session(self) -> str:
        """Name of the database sessions that write under this lease."""
        return f"lease {self.name} #{self.token}"[:63]


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A row of ``ops.leases``."""

    name: str
    holder: str
    token: int
    acquired_at: datetime
    expires_at: datetime
    held: bool
    waiting: str | None


def end_leases(connection: psycopg.Connection[Any], holder: str) -> None:
    """End the leases of a ``holder`` that is gone, so that its successor need not wait until they expire.

    A holder that lives after all writes nothing more under them, or takes them again. Raises psycopg.Error.
    """
    connection.execute(_END, [holder])


class Leases:
    """``ops.leases``: a holder renews its lease, and one that expires is free for any process.

    Times are the database's, the one clock that all processes share.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take the lease for ``seconds``; None if another process holds it."""
        values = {"name": name, "holder": holder, "seconds": seconds}

        def take(connection: psycopg.Connection[Any]) -> int | None:
            connection.execute("SELECT set_config('lock_timeout', '1s', true)")
            connection.execute(_HOLD, values)
            row = connection.execute(_TAKE, values).fetchone()
            return None if row is None else int(row[0])

        try:
            token = self._connections.run(take)
        except psycopg.errors.LockNotAvailable:
            # The holder is in a transaction: for a moment, or without end if it was paused there.
            self._end_stuck(name)
            return None
        return None if token is None else Lease(name, holder, token)

    def renew(self, lease: Lease, seconds: float) -> str | None:
        """Extend the lease to ``seconds`` from now. Return the process that waits to take over. Raises LeaseLost."""
        values = {"name": lease.name, "token": lease.token, "seconds": seconds}
        row = self._connections.run(lambda connection: connection.execute(_RENEW, values).fetchone())
        if row is None:
            raise _lost(lease)
        waiting: str | None = row[0]
        return waiting

    def release(self, lease: Lease) -> None:
        """Give the lease back, so that the next holder need not wait for its end. No effect if it is lost already."""
        values = {"name": lease.name, "token": lease.token}
        self._connections.run(lambda connection: connection.execute(_RELEASE, values) and None)

    def stand_by(self, name: str, holder: str, seconds: float) -> bool:
        """Announce for ``seconds`` that ``holder`` waits for the lease. False if another process waits already."""
        values = {"name": name, "holder": holder, "seconds": seconds}
        return self._connections.run(lambda connection: connection.execute(_WAIT, values).rowcount) > 0

    def rows(self) -> list[LeaseRow]:
        """All leases."""

        def read(connection: psycopg.Connection[Any]) -> list[LeaseRow]:
            with connection.cursor(row_factory=class_row(LeaseRow)) as cursor:
                return cursor.execute(_ALL).fetchall()

        return self._connections.run(read)

    def _end_stuck(self, name: str) -> None:
        values = {"name": name, "sessions": f"lease {name} #%", "stuck": _STUCK}
        self._connections.run(lambda connection: connection.execute(_END_STUCK, values) and None)


class FencedConnections(Connections):
    """Connections under a lease: every transaction of ``run`` checks first that the lease is still held.

    Shares the pool of ``inner``; ``close`` does nothing.
    """

    def __init__(self, inner: Connections, lease: Lease) -> None:
        super().__init__(inner.url, inner.size)
        self._inner, self.lease = inner, lease
        self._proof = {
            "session": lease.session,
            "stuck": f"{_IDLE * 1000:.0f}",
            "name": lease.name,
            "token": lease.token,
        }

    def run(
        self,
        work: Callable[Concatenate[psycopg.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``work(connection, …)`` in one transaction with the check. Raises LeaseLost without writing."""

        def proven(connection: psycopg.Connection) -> T:
            self._prove(connection)
            return work(connection, *args, **kwargs)

        return self._unless_idle(lambda: self._inner.run(proven))

    def run_core(
        self,
        work: Callable[Concatenate[sqlalchemy.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``work`` with a connection of SQLAlchemy in one transaction with the check. Raises LeaseLost."""

        def proven(connection: sqlalchemy.Connection) -> T:
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            self._prove(driver)
            return work(connection, *args, **kwargs)

        return self._unless_idle(lambda: self._inner.run_core(proven))

    def _prove(self, connection: psycopg.Connection) -> None:
        if connection.execute(_PROVE, self._proof).fetchone() is None:
            raise _lost(self.lease)

    def _unless_idle(self, attempt: Callable[[], T]) -> T:
        """Repeat a transaction that the server ended because this process was paused within it."""
        while True:
            try:
                return attempt()
            except psycopg.errors.IdleInTransactionSessionTimeout:
                log.warning("%s: was paused in the middle of a transaction, which is repeated", self.lease.session)

    def transaction(self) -> AbstractContextManager[psycopg.Connection]:  # type: ignore[override]
        """Not allowed without the check: raises StoreError."""
        raise StoreError("under a lease there are only whole transactions: use run")

    def run_in_session(self, *args: Any, **kwargs: Any) -> Any:
        """Not allowed: its transactions would not have the check. Raises StoreError."""
        raise StoreError("under a lease nothing holds a session of its own: use run")

    def adbc(self) -> AbstractContextManager[dbapi.Connection]:  # type: ignore[override]
        """As in Connections; reading needs no check."""
        return self._inner.adbc()

    def frame(self, query: str, parameters: tuple[Any, ...] | list[Any] | None = None) -> pl.DataFrame:
        """As in Connections; reading needs no check."""
        return self._inner.frame(query, parameters)

    def rows(self, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """As in Connections; reading needs no check."""
        return self._inner.rows(query, parameters)

    def close(self) -> None:
        """Do nothing: the connections belong to the store that made them."""


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"the lease {lease.name} (token {lease.token}) is not held by {lease.holder} any more")


def wait_for(acquire: Callable[[], Lease | None], timeout: float, step: float = 0.2) -> Lease | None:
    """Call ``acquire`` until it returns a lease, at most ``timeout`` seconds. For callers without an event loop."""
    until = time.monotonic() + timeout
    while (lease := acquire()) is None and time.monotonic() < until:
        time.sleep(step)
    return lease
