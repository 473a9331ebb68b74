"""How far a streaming replica is behind its primary, measured by the caller's clock.

No frames here: the program that reads these facts every few seconds must stay small.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import psycopg

from crypto_pipeline.store.coordination.replay_position import PRIMARY_POSITION, REPLAYED_POSITION
from crypto_pipeline.store.database.connect import address, open_session
from crypto_pipeline.store.database.errors import StoreError

#: Notes of the primary's position that are kept; seconds for which a position is awaited, and between two looks at it.
_KEPT, _AWAITED, _PAUSE = 4000, 0.5, 0.02
#: Seconds to connect, and for one statement.
_CONNECT, _STATEMENT = 3, 2
_SYSTEM = "SELECT system_identifier FROM pg_control_system()"


@dataclass(frozen=True, slots=True)
class ReplicaFacts:
    """A replica as it was looked at.

    Attributes:
        address: Host, port and database.
        lag: Seconds that it is behind at most; None where that is unknown.
        trouble: Why it cannot be read from; None where it can.
        is_replica: Whether it is a replica of the primary, as far as it answered.
    """

    address: str
    lag: float | None = None
    trouble: str | None = None
    is_replica: bool = True


class ReplicaWatch:
    """Looks at one replica again and again. It keeps one connection to it."""

    def __init__(self, url: str) -> None:
        self._url, self._address = url, address(url)
        self._connection: psycopg.Connection[Any] | None = None
        #: Moments of this process's clock, and the primary's position then.
        self._notes: deque[tuple[float, int]] = deque(maxlen=_KEPT)

    def look(self, primary: psycopg.Connection[Any]) -> ReplicaFacts:
        """How far the replica is behind ``primary``. Raises StoreError or psycopg.Error for the primary alone."""
        at = time.monotonic()
        position = (primary.execute(PRIMARY_POSITION).fetchone() or (None,))[0]
        if position is None:
            return ReplicaFacts(self._address, trouble="database_url leads to a replica itself", is_replica=False)
        self._notes.append((at, int(position)))
        try:
            replica = self._open()
            stranger = self._stranger(primary, replica)
            return stranger if stranger is not None else self._measured(replica, int(position))
        except (StoreError, psycopg.Error) as error:
            self.close()
            return ReplicaFacts(self._address, trouble=str(error).strip().splitlines()[0])

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = open_session(self._url, timeout=_CONNECT, statement_timeout=_STATEMENT)
        return self._connection

    def _stranger(self, primary: psycopg.Connection[Any], replica: psycopg.Connection[Any]) -> ReplicaFacts | None:
        """What is wrong where the server is no replica of the primary; None where it is one, or may be one."""
        trouble = None
        if (replica.execute(REPLAYED_POSITION).fetchone() or (None,))[0] is None:
            trouble = "it replays no other server: it is no streaming replica, or it was promoted"
        elif None not in (found := {_system(primary), _system(replica)}) and len(found) > 1:
            trouble = "it is a replica of another server than that of database_url"
        return None if trouble is None else ReplicaFacts(self._address, trouble=trouble, is_replica=False)

    def _measured(self, replica: psycopg.Connection[Any], position: int) -> ReplicaFacts:
        until = time.monotonic() + _AWAITED
        while True:
            replayed, _, age = replica.execute(REPLAYED_POSITION).fetchone() or (None, None, None)
            if replayed is not None and replayed >= position:
                return ReplicaFacts(self._address, 0.0)
            if time.monotonic() > until:
                break
            time.sleep(_PAUSE)
        known = next((at for at, noted in reversed(self._notes) if replayed is not None and noted <= replayed), None)
        # without a note that it has replayed, its newest commit says it, by the clocks of the servers
        return ReplicaFacts(self._address, age if known is None else time.monotonic() - known)


def replica_facts(primary_url: str, url: str) -> ReplicaFacts:
    """One look at the replica of ``url``. Raises StoreError for the primary alone."""
    watch = ReplicaWatch(url)
    primary = open_session(primary_url, timeout=_CONNECT, statement_timeout=_STATEMENT)
    try:
        return watch.look(primary)
    except psycopg.Error as error:
        raise StoreError(str(error).strip().splitlines()[0]) from None
    finally:
        primary.close()
        watch.close()


def _system(connection: psycopg.Connection[Any]) -> int | None:
    """The identifier that a server shares with its replicas alone; None where the user may not know it."""
    try:
        row = connection.execute(_SYSTEM).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return None
    return None if row is None else int(row[0])
