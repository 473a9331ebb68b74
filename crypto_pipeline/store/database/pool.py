"""The connections of one process: a psycopg pool for statements, kept ADBC connections for frames, and one retry rule.

PostgreSQL may be killed and restart at any moment. Every write is one transaction that may be repeated, so ``run``
repeats it on a new connection until it succeeds or ``patience`` seconds have passed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import psycopg

from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.connect import check_server, plain_url
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.interrupts import interruptible
from crypto_pipeline.store.database.pg_errors import busy, explained, is_driver_error, is_transient
from crypto_pipeline.store.database.retry import retrying
from crypto_pipeline.store.database.sessions.pooler import DatabaseUrl
from crypto_pipeline.store.database.sessions.sessions import sessions
from crypto_pipeline.store.database.values import json_text

# Imported at first use: together they take longer than the first read of a process.
if TYPE_CHECKING:
    import polars as pl
    import sqlalchemy
    from adbc_driver_manager import dbapi
    from psycopg_pool import ConnectionPool

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 60.0


class Connections:
    """Opens connections on first use, keeps them and replaces broken ones. Thread-safe.

    A forked child opens its own. A ``DatabaseUrl`` says that a pooler is between.
    """

    def __init__(
        self, url: str, size: int = 8, *, patience: float = PATIENCE, statement_timeout: float | None = None
    ) -> None:
        self.url = plain_url(url)
        self.size = size
        self.patience = patience
        self._sessions = sessions(self.url, statement_timeout)
        self._closed = False
        self._reached = False
        self._begin()
        fork_safety.renew_in_children(self)

    def _begin(self) -> None:
        """Start without an open connection."""
        #: One entry per reading connection: the connection, or None if it is not made yet. The newest entry is taken
        #: first, so that no more are made than are used at the same time.
        self._readers: queue.LifoQueue[psycopg.Connection[Any] | None] = queue.LifoQueue()
        for _ in range(self.size):
            self._readers.put(None)
        self._streams = threading.BoundedSemaphore(self.size)
        self._lock = threading.Lock()
        self._pool: ConnectionPool | None = None
        self._engine: sqlalchemy.Engine | None = None
        self._idle: list[dbapi.Connection] = []
        #: A different object in each process, so that connections from before a fork are not returned to the child's.
        self._era = object()

    def after_fork(self) -> None:
        """In a forked child: abandon the parent's connections without closing them; new ones open when needed."""
        fork_safety.abandon(self._readers, self._streams, self._lock, self._pool, self._engine, self._idle)
        self._begin()

    # -- statements -----------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection]:
        """One pooled connection in one transaction: committed at the end of the block, rolled back on an error."""
        with self._statements().connection() as connection:
            yield connection

    def run(
        self,
        work: Callable[Concatenate[psycopg.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``work(connection, …)`` in one transaction, repeated while PostgreSQL is down. It must be repeatable."""

        def attempt() -> T:
            with self.transaction() as connection:
                return work(connection, *args, **kwargs)

        return self._repeated(attempt, _of_connection)

    def run_in_session(
        self,
        work: Callable[Concatenate[psycopg.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``work`` as ``run`` does, for work of several transactions that holds a lock of its session.

        Behind a pooler it gets a new session of the server itself.
        """
        if not isinstance(self.url, DatabaseUrl):
            return self.run(work, *args, **kwargs)

        def attempt() -> T:
            with self._sessions.own() as connection:
                return work(connection, *args, **kwargs)

        return self._repeated(attempt, _of_connection)

    def run_core(
        self,
        work: Callable[Concatenate[sqlalchemy.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``work`` as ``run`` does, with a SQLAlchemy connection over the same pool. Raises psycopg's errors."""
        from sqlalchemy.exc import DBAPIError

        def attempt() -> T:
            try:
                with self._core_engine().begin() as connection:
                    return work(connection, *args, **kwargs)
            except DBAPIError as error:
                if error.orig is None:
                    raise
                raise error.orig from error

        return self._repeated(attempt, _of_connection)

    def _core_engine(self) -> sqlalchemy.Engine:
        pool = self._statements()
        with self._lock:
            if self._engine is None:
                from sqlalchemy import create_engine
                from sqlalchemy.pool import NullPool

                self._engine = create_engine(
                    "postgresql+psycopg://",
                    creator=pool.getconn,
                    poolclass=NullPool,
                    use_native_hstore=False,
                )
            return self._engine

    def _statements(self) -> ConnectionPool:
        with self._lock:
            self._before_use()
            if self._pool is None:
                from psycopg.types.json import set_json_dumps
                from psycopg_pool import ConnectionPool

                self._pool = ConnectionPool(
                    self.url,
                    **self._sessions.pool_arguments(),
                    min_size=1,
                    max_size=self.size,
                    max_idle=60.0,  # a session costs the server some MB
                    timeout=3.0,  # then `run` asks again, because a waiting client does not make the pool reconnect
                    # short, so that a restarted server is found at once instead of after a long back-off
                    reconnect_timeout=2.0,
                    check=ConnectionPool.check_connection,
                    # SQLAlchemy leaves writing JSON to psycopg
                    configure=lambda connection: set_json_dumps(json_text, connection),
                    close_returns=True,  # SQLAlchemy closes what it has borrowed
                    open=True,
                )
            return self._pool

    # -- frames ---------------------------------------------------------------------------------------------------

    @contextmanager
    def adbc(self) -> Iterator[dbapi.Connection]:
        """One ADBC connection for reading, rolled back at the end. It is kept, because a new one takes 50 ms.

        A connection with an error is closed. Each thread gets its own; at most ``size`` are in use at once.
        """
        streams, era = self._streams, self._era
        if not streams.acquire(timeout=self.patience):
            raise busy(self.patience)
        try:
            connection = self._take()
            try:
                self._sessions.begin(connection)
                yield connection
                self._must_be(era, connection)
                self._sessions.end(connection)
            except BaseException:
                if era is self._era:
                    _quietly_close(connection)
                raise
            self._give_back(connection)
        finally:
            streams.release()

    def _must_be(self, era: object, connection: object) -> None:
        """Raise StoreError if this process was forked while the connection was in use: it belongs to the parent."""
        if era is not self._era:
            fork_safety.abandon(connection)
            raise StoreError("this process was forked in the middle of a read: fork before it or after it")

    def frame(self, query: str, parameters: tuple[Any, ...] | list[Any] | None = None) -> pl.DataFrame:
        """The result of ``query`` ($1, $2 … for ``parameters``), repeated while PostgreSQL is down.

        Without parameters it is read by COPY, which is twice as fast. An empty list is sent as NULL, because its
        type is unknown; no value is ``= ANY(NULL)``, as none is in an empty list. Raises StoreError.
        """
        sent = [None if isinstance(value, list) and not value else value for value in parameters or []] or None

        import polars as pl

        def attempt() -> pl.DataFrame:
            with self.adbc() as connection, connection.cursor() as cursor:

                def fetch() -> Any:
                    cursor.execute(query, sent)
                    return cursor.fetch_arrow_table()

                table = interruptible(fetch, connection.adbc_cancel)
                if fork_safety.without_polars():
                    return pl.DataFrame([pl.Series(name, table[name]) for name in table.column_names])
                answer = pl.from_arrow(table)
                assert isinstance(answer, pl.DataFrame)
                return answer

        return self._repeated(attempt)

    def row(self, query: str, parameters: Any = None) -> tuple[Any, ...]:
        """The first row of ``query``, which must return one; otherwise as ``rows``."""
        return self.rows(query, parameters)[0]

    def rows(self, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """The rows of ``query``, read in binary, repeated while PostgreSQL is down. For few rows: every statement is a
        separate transaction, on a kept connection with prepared plans."""

        def attempt() -> list[tuple[Any, ...]]:
            with self.reading() as connection:
                return self._sessions.read(connection, query, parameters)

        return self._repeated(attempt)

    @contextmanager
    def reading(self) -> Iterator[psycopg.Connection[Any]]:
        """One of at most ``size`` reading connections; a connection with an error is closed."""
        readers, era = self._readers, self._era
        try:
            connection = readers.get(timeout=self.patience)
        except queue.Empty:
            raise busy(self.patience) from None
        kept = None
        try:
            connection = connection or self._new_reader()
            yield connection
            self._must_be(era, connection)
            kept = connection
        except BaseException:
            if connection is not None and era is self._era:
                connection.close()
            raise
        finally:
            if self._closed and kept is not None:
                kept.close()
                kept = None
            readers.put(kept)

    def _new_reader(self) -> psycopg.Connection[Any]:
        with self._lock:
            if self._closed or self._reached:
                self._before_use()
        connection = self._sessions.reader(reached=self._reached)
        self._reached = True
        return connection

    def _repeated(self, attempt: Callable[[], T], explain: Callable[[BaseException], bool] = is_driver_error) -> T:
        """Try once, then repeat for ``patience`` seconds. The first try is separate because tenacity's set-up is slow.

        An error for which ``explain`` is true is raised as a StoreError of one line if it is a known one.
        """
        try:
            try:
                return attempt()
            except Exception as error:
                if not is_transient(error):
                    raise
            return retrying(attempt, self.patience)
        except Exception as error:
            said = explained(error, self.url, self.patience) if explain(error) else error
            if said is error:
                raise
            raise said from error

    def _take(self) -> dbapi.Connection:
        with self._lock:
            self._before_use()
            if self._idle:
                return self._idle.pop()
        return self._sessions.stream()

    def _give_back(self, connection: dbapi.Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < self.size:
                self._idle.append(connection)
                return
        _quietly_close(connection)

    # -- end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close all connections; those in use are closed when they are returned."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
            idle, self._idle = self._idle, []
        if pool is not None:
            pool.close()
        # A connection in use is closed when it is returned.
        for reader in [self._readers.get_nowait() for _ in range(self._readers.qsize())]:
            self._readers.put(None)
            if reader is not None:
                reader.close()
        for connection in idle:
            _quietly_close(connection)

    def _before_use(self) -> None:
        if self._closed:
            raise StoreError("this store is closed: open a new one")
        if not self._reached:  # a wrong address raises at once; after a first success, failures are repeated
            check_server(self.url)
            self._reached = True


def _of_connection(error: BaseException) -> bool:
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def _quietly_close(connection: dbapi.Connection) -> None:
    from adbc_driver_manager import dbapi

    try:
        connection.close()
    except dbapi.Error:
        pass  # it is broken already, which is why it is closed
