"""Heartbeats: rows that the holder of a task updates while it works. Supervision uses only these rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.values import json_text

#: The heartbeat of a supervisor is called so, a colon and its deployment; its detail has the state of every program.
SUPERVISOR = "supervisor"

_BEAT = """
INSERT INTO ops.heartbeats AS h (name, holder, started, beat, detail)
VALUES (%(name)s, %(holder)s, clock_timestamp(), clock_timestamp(), %(detail)s)
ON CONFLICT (name) DO UPDATE
SET started = CASE WHEN h.holder = excluded.holder THEN h.started ELSE excluded.started END,
    holder = excluded.holder, beat = excluded.beat, detail = excluded.detail
"""

_ENDED = """UPDATE ops.heartbeats SET detail = detail || '{"ended": true}' WHERE name = %s AND holder = %s"""

_READ = """
SELECT name, holder, started, beat, extract(epoch FROM clock_timestamp() - beat)::float8 AS age, detail
FROM ops.heartbeats WHERE name LIKE %s ORDER BY name
"""

# A row is not old while the server, or the connection to it, was away. ``session`` in a detail is the server process of
# the session that writes the row; without it the row counts as connected.
_PRESENT = """
SELECT h.name, h.holder, extract(epoch FROM clock_timestamp() - greatest(h.beat, own.backend_start))::float8 AS age,
       coalesce((h.detail ->> 'session')::int IN (SELECT pid FROM pg_stat_activity), true) AS connected,
       coalesce((h.detail ->> 'ended')::boolean, false) AS ended
FROM ops.heartbeats h, (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()) own
WHERE h.name LIKE %s ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The newest heartbeat. ``age`` is in seconds, by the database's clock."""

    name: str
    holder: str
    started: datetime
    beat: datetime
    age: float
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether the holder of a row is there.

    Attributes:
        name: Of the row.
        holder: Who wrote it last.
        age: Seconds without a heartbeat for which this session saw the server.
        connected: Whether the session that wrote it is open.
        ended: Whether the row itself says that its holder was killed.
    """

    name: str
    holder: str
    age: float
    connected: bool
    ended: bool


def read_heartbeats(url: str, pattern: str = "%") -> list[Heartbeat]:
    """Rows whose name is LIKE ``pattern``, over a new connection. Raises StoreError when it cannot connect."""
    try:
        with connect(url) as connection, connection.cursor(row_factory=class_row(Heartbeat)) as cursor:
            return cursor.execute(_READ, [pattern]).fetchall()
    except psycopg.Error as error:
        raise StoreError(f"cannot read heartbeats: {str(error).strip()}") from None


def read_presence(connection: psycopg.Connection[Any], pattern: str) -> list[Presence]:
    """Whether the holders of rows whose name is LIKE ``pattern`` are there. Raises psycopg.Error."""
    with connection.cursor(row_factory=class_row(Presence)) as cursor:
        return cursor.execute(_PRESENT, [pattern]).fetchall()


def write_heartbeat(
    connection: psycopg.Connection[Any], name: str, holder: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Write a heartbeat. ``started`` stays the same while the holder does. Raises psycopg.Error."""
    connection.execute(_BEAT, {"name": name, "holder": holder, "detail": json_text(detail or {})})


def forget_heartbeat(connection: psycopg.Connection[Any], name: str) -> None:
    """Delete the row called ``name``: its holder ended on purpose. Raises psycopg.Error."""
    connection.execute("DELETE FROM ops.heartbeats WHERE name = %s", [name])


def end_heartbeat(connection: psycopg.Connection[Any], name: str, holder: str) -> None:
    """Say in the row called ``name`` that ``holder`` was killed, unless another one writes it by now.

    Raises psycopg.Error.
    """
    connection.execute(_ENDED, [name, holder])


class Heartbeats:
    """Reads and writes ``ops.heartbeats``."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def beat(self, name: str, holder: str, detail: Mapping[str, Any] | None = None) -> None:
        """Write a heartbeat. ``started`` stays the same while the holder does."""
        self._connections.run(write_heartbeat, name, holder, detail)

    def forget(self, name: str) -> None:
        """Delete the row called ``name``: its holder ended on purpose."""
        self._connections.run(forget_heartbeat, name)

    def get(self, name: str) -> Heartbeat | None:
        """The row called ``name``; None if there is none."""
        found = [row for row in self.all(name) if row.name == name]
        return found[0] if found else None

    def all(self, pattern: str = "%") -> list[Heartbeat]:
        """All rows whose name is LIKE ``pattern``."""

        def read(connection: psycopg.Connection[Any]) -> list[Heartbeat]:
            with connection.cursor(row_factory=class_row(Heartbeat)) as cursor:
                return cursor.execute(_READ, [pattern]).fetchall()

        return self._connections.run(read)
