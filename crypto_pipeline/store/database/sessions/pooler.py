"""Connection poolers (pgbouncer in transaction mode) between this program and PostgreSQL.

Behind a pooler, each transaction may run in another session of the server, and a session is shared with other clients.
So nothing may outlast a transaction: no prepared statement, no setting, no temporary table, no lock of the session.
What needs a session of its own (LISTEN, migrations, dumps, locks over several transactions) uses the direct URL.
"""

from __future__ import annotations

from datetime import UTC
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import errors, generators, pq
from psycopg.types.datetime import TimestamptzBinaryLoader

from crypto_pipeline.store.database.errors import StoreError

DIRECT_VARIABLE = "CRYPTO_PIPELINE_DATABASE_DIRECT_URL"


class DatabaseUrl(str):
    """The URL of a database behind a pooler; ``direct`` is the URL of the same database without the pooler."""

    direct: str

    def __new__(cls, url: str, direct: str) -> DatabaseUrl:
        """``url`` leads to the pooler, ``direct`` to the server."""
        made = super().__new__(cls, url)
        made.direct = direct
        return made

    def __reduce__(self) -> tuple[type[DatabaseUrl], tuple[str, str]]:
        return DatabaseUrl, (str(self), self.direct)


def direct_url(url: str) -> str:
    """The URL that leads to the server itself: for what needs a session of its own."""
    return url.direct if isinstance(url, DatabaseUrl) else url


def is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Whether a pooler is between: it invents the process id that it tells its clients. One round trip."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row is not None and row[0] != connection.info.backend_pid


def needs_direct_url(url: str) -> StoreError:
    """The error for a pooler whose server's own address is not given."""
    parts = urlsplit(url)
    return StoreError(
        f"a connection pooler answers at {parts.hostname or 'localhost'}:{parts.port or 5432}: set {DIRECT_VARIABLE} "
        "to the URL of the same database on PostgreSQL itself, which migrations, LISTEN and dumps need"
    )


def session_settings(statement_timeout: float | None) -> dict[str, str]:
    """What every session or transaction sets. ``statement_timeout``: seconds; None: the role's own."""
    found = {"TimeZone": "UTC", "jit": "off"}
    if statement_timeout is not None:
        found["statement_timeout"] = str(int(statement_timeout * 1000))
    return found


def begin_with(settings: dict[str, str]) -> str:
    """The text that begins a transaction with these settings, which end with it. It is sent in one round trip."""
    return "; ".join(["BEGIN", *_local(settings)])


def _local(settings: dict[str, str]) -> list[str]:
    return [f"SET LOCAL {name} = '{value}'" for name, value in settings.items()]


def set_in_transaction(settings: dict[str, str]) -> str:
    """One query that makes these settings until the end of the transaction."""
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())


class PooledConnection(psycopg.Connection[Any]):
    """A connection to a pooler: every transaction begins with ``settings``, and no statement is prepared."""

    #: Statements that follow BEGIN.
    settings: tuple[bytes, ...]

    def _exec_command(self, command: Any, *args: Any, **kwargs: Any) -> Any:
        """psycopg's way to send BEGIN, COMMIT and the like, which expects one result per message."""
        if not (isinstance(command, bytes) and command.startswith(b"BEGIN")):
            return (yield from super()._exec_command(command, *args, **kwargs))
        if self._pipeline is not None:  # of ``executemany``: one statement per message, and one round trip all the same
            result = yield from super()._exec_command(command, *args, **kwargs)
            for statement in self.settings:
                yield from super()._exec_command(statement)
            return result
        self._check_connection_ok()
        self.pgconn.send_query(b"; ".join([command, *self.settings]))
        results = yield from generators.execute(self.pgconn)
        for result in results:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result, encoding=self.info.encoding)
        return results[0]


class UtcLoader(TimestamptzBinaryLoader):
    """Loads times with zone as UTC, although the session between two transactions may have another zone."""

    def __init__(self, oid: int, context: Any = None) -> None:
        super().__init__(oid, context)
        self._timezone = UTC


def pooled_connection_class(settings: dict[str, str]) -> type[PooledConnection]:
    """A class of connections whose transactions begin with ``settings``."""
    statements = tuple(text.encode() for text in _local(settings))
    return type("PooledConnection", (PooledConnection,), {"settings": statements})


def create_temporary(connection: psycopg.Connection[Any], statement: str) -> None:
    """Create temporary tables; ``statement`` has ``ON COMMIT {end}``.

    They are emptied at the commit and kept for the next transaction, which is faster than creating them again. Behind
    a pooler they are dropped, because the next transaction may be another program's.
    """
    end = "DROP" if isinstance(connection, PooledConnection) else "DELETE ROWS"
    connection.execute(statement.format(end=end))
