"""How a process opens sessions of PostgreSQL and reads over them: directly, or through a pooler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg

from crypto_pipeline.store.database.connect import CONNECT_TIMEOUT, connect
from crypto_pipeline.store.database.sessions import pooler
from crypto_pipeline.store.database.sessions.pooler import DatabaseUrl

if TYPE_CHECKING:
    from adbc_driver_manager import dbapi

_NAMED: dict[str, Any] = {"application_name": "crypto_pipeline"}

Row = tuple[Any, ...]


class Sessions:
    """Sessions of the server itself: they keep their settings, prepared statements and temporary tables."""

    def __init__(self, url: str, statement_timeout: float | None) -> None:
        self.url = url
        settings = pooler.session_settings(statement_timeout)
        self._options = " ".join(f"-c {name}={value}" for name, value in settings.items())

    def pool_arguments(self) -> dict[str, Any]:
        """Arguments of psycopg's pool."""
        return {"kwargs": {**_NAMED, "options": self._options, "connect_timeout": CONNECT_TIMEOUT}}

    def own(self) -> psycopg.Connection[Any]:
        """A session that nobody else uses, outside of the pool, with a transaction around statements."""
        return psycopg.connect(
            pooler.direct_url(self.url), options=self._options, connect_timeout=CONNECT_TIMEOUT, **_NAMED
        )

    def reader(self, *, reached: bool) -> psycopg.Connection[Any]:
        """A session for single reads. If the server was not reached yet, a wrong address raises StoreError at once."""
        # one generic plan, because planning each call takes longer than a small read
        options = f"{self._options} -c plan_cache_mode=force_generic_plan"
        if reached:
            return psycopg.connect(
                self.url, autocommit=True, connect_timeout=CONNECT_TIMEOUT, options=options, **_NAMED
            )
        connection = connect(self.url, options=options, **_NAMED)
        if pooler.is_pooled(connection):
            connection.close()
            raise pooler.needs_direct_url(self.url)
        return connection

    def read(self, connection: psycopg.Connection[Any], query: Any, parameters: Any) -> list[Row]:
        """The rows of one query, in binary, over a connection of ``reader``."""
        return connection.execute(query, parameters, prepare=True, binary=True).fetchall()

    def stream(self) -> dbapi.Connection:
        """An ADBC connection."""
        return _adbc(self.url, f"options={quote(self._options)}&", autocommit=False)

    def begin(self, connection: dbapi.Connection) -> None:
        """Begin a transaction of an ADBC connection: ADBC does so itself."""

    def end(self, connection: dbapi.Connection) -> None:
        """End the transaction of an ADBC connection."""
        connection.rollback()


class PooledSessions(Sessions):
    """Sessions of a pooler, of which every transaction may get another one of the server."""

    def __init__(self, url: DatabaseUrl, statement_timeout: float | None) -> None:
        super().__init__(url, statement_timeout)
        settings = pooler.session_settings(statement_timeout)
        self._class = pooler.pooled_connection_class(settings)
        self._begin, self._set = pooler.begin_with(settings), pooler.set_in_transaction(settings)

    def pool_arguments(self) -> dict[str, Any]:
        """Arguments of psycopg's pool."""
        named = {**_NAMED, "connect_timeout": CONNECT_TIMEOUT, "prepare_threshold": None}
        return {"kwargs": named, "connection_class": self._class}

    def reader(self, *, reached: bool) -> psycopg.Connection[Any]:
        """As in Sessions; its settings are made with each read."""
        if reached:
            connection: psycopg.Connection[Any] = psycopg.connect(
                self.url, autocommit=True, connect_timeout=CONNECT_TIMEOUT, prepare_threshold=None, **_NAMED
            )
        else:
            connection = connect(self.url, **_NAMED)
        connection.adapters.register_loader("timestamptz", pooler.UtcLoader)
        return connection

    def read(self, connection: psycopg.Connection[Any], query: Any, parameters: Any) -> list[Row]:
        """The rows of one query, sent together with the settings, as one transaction and one round trip."""
        with connection.pipeline():
            connection.execute(self._set, prepare=False)
            cursor = connection.execute(query, parameters, binary=True)
        return cursor.fetchall()

    def stream(self) -> dbapi.Connection:
        """An ADBC connection without a transaction while it is idle, which would occupy a session of the server."""
        return _adbc(self.url, "", autocommit=True)

    def begin(self, connection: dbapi.Connection) -> None:
        """Begin a transaction with the settings."""
        _run(connection, self._begin)

    def end(self, connection: dbapi.Connection) -> None:
        """End the transaction."""
        _run(connection, "ROLLBACK")


def sessions(url: str, statement_timeout: float | None) -> Sessions:
    """Sessions of ``url``; ``statement_timeout``: seconds after which the server cancels a statement; None: never."""
    return (PooledSessions if isinstance(url, DatabaseUrl) else Sessions)(url, statement_timeout)  # type: ignore[arg-type]


def _adbc(url: str, options: str, *, autocommit: bool) -> dbapi.Connection:
    from adbc_driver_postgresql import dbapi as postgresql

    joiner = "&" if "?" in url else "?"
    extra = f"{options}application_name=crypto_pipeline&connect_timeout={CONNECT_TIMEOUT}"
    made: dbapi.Connection = postgresql.connect(f"{url}{joiner}{extra}", autocommit=autocommit)
    return made


def _run(connection: dbapi.Connection, text: str) -> None:
    with connection.cursor() as cursor:
        cursor.executescript(text)
