"""The connections of one process: a psycopg pool for statements, kept ADBC connections for frames, and one retry rule.

PostgreSQL may be killed and come back at any moment. Every write of ours is one transaction that may be repeated, so
``run`` repeats it on a new connection until it succeeds or the patience is over.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

import psycopg

from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.connect import CONNECT_TIMEOUT, check_server, connect, plain_url
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.interrupts import interruptible
from crypto_pipeline.store.database.pg_errors import busy, explained, is_driver_error, is_transient
from crypto_pipeline.store.database.retry import retrying
from crypto_pipeline.store.database.values import json_text

# Imported where they are first used: together they take longer than the first read of a process.
if TYPE_CHECKING:
    import polars as pl
    import sqlalchemy
    from adbc_driver_manager import dbapi
    from psycopg_pool import ConnectionPool

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 60.0
_NAMED: dict[str, Any] = {"application_name": "crypto_pipeline"}
_OPTIONS = "-c TimeZone=UTC -c jit=off"


class Connections:
    """Opens connections on first use, keeps them and replaces broken ones. Thread-safe.

    A forked child opens its own.
    """

    def __init__(
        self, url: str, size: int = 8, *, patience: float = PATIENCE, statement_timeout: float | None = None
    ) -> None:
        self.url = plain_url(url)
        self.size = size
        self.patience = patience
        #: A statement that takes longer (seconds) is cancelled by the server; None: never.
        limit = "" if statement_timeout is None else f" -c statement_timeout={int(statement_timeout * 1000)}"
        self._options = _OPTIONS + limit
        self._closed = False
        self._reached = False
        self._begin()
        fork_safety.renew_in_children(self)

    def _begin(self) -> None:
        """Start without an open connection."""
        #: One entry for each reading connection: the connection, or None where it is not made yet.
        self._readers: queue.SimpleQueue[psycopg.Connection[Any] | None] = queue.SimpleQueue()
        for _ in range(self.size):
            self._readers.put(None)
        self._streams = threading.BoundedSemaphore(self.size)
        self._lock = threading.Lock()
        self._pool: ConnectionPool | None = None
        self._engine: sqlalchemy.Engine | None = None
        self._idle: list[dbapi.Connection] = []
        #: Another object in each process: what was opened before a fork is not given back to the child's connections.
        self._era = object()

    def after_fork(self) -> None:
        """In a forked child: leave the parent's connections as they are, and open others when they are needed."""
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
        """``work(connection, …)`` in one transaction, repeated while PostgreSQL is away. It must be safe to repeat."""

        def attempt() -> T:
            with self.transaction() as connection:
                return work(connection, *args, **kwargs)

        return self._repeated(attempt, _of_connection)

    def run_core(
        self,
        work: Callable[Concatenate[sqlalchemy.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """As ``run``, with a connection of SQLAlchemy over one of the same pool. Raises what psycopg raises."""
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
                    kwargs={**_NAMED, "options": self._options, "connect_timeout": CONNECT_TIMEOUT},
                    min_size=1,
                    max_size=self.size,
                    timeout=3.0,  # then asked for again, see `run`; a waiting client does not make it try to reconnect
                    # short, so that a server which was away is found again at once instead of after a long back-off
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
        """One ADBC connection (a fresh one costs 50 ms, so it is kept). Rolled back at the end: for reading.

        One that saw an error is thrown away. Of several threads each gets its own; at most ``size`` are out at once.
        """
        streams, era = self._streams, self._era
        if not streams.acquire(timeout=self.patience):
            raise busy(self.patience)
        try:
            connection = self._take()
            try:
                yield connection
                self._must_be(era, connection)
                connection.rollback()
            except BaseException:
                if era is self._era:
                    _quietly_close(connection)
                raise
            self._give_back(connection)
        finally:
            streams.release()

    def _must_be(self, era: object, connection: object) -> None:
        """StoreError where this process was forked while the connection was out: it is the parent's."""
        if era is not self._era:
            fork_safety.abandon(connection)
            raise StoreError("this process was forked in the middle of a read: fork before it or after it")

    def frame(self, query: str, parameters: tuple[Any, ...] | list[Any] | None = None) -> pl.DataFrame:
        """The answer of ``query`` ($1, $2 … for ``parameters``), repeated while PostgreSQL is away.

        Without parameters it comes by COPY, which is twice as fast. An empty list goes as NULL, because nothing in it
        says of which type it is: no value is ``= ANY(NULL)``, as none is in an empty list.
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
        """The first row of ``query``, which gives at least one; as ``rows``."""
        return self.rows(query, parameters)[0]

    def rows(self, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """The rows of ``query``, in binary, repeated while PostgreSQL is away. For reading few rows: every statement is
        a transaction of its own, on a kept connection that remembers its plan.
        """

        def attempt() -> list[tuple[Any, ...]]:
            with self.reading() as connection:
                return connection.execute(query, parameters, prepare=True, binary=True).fetchall()

        return self._repeated(attempt)

    @contextmanager
    def reading(self) -> Iterator[psycopg.Connection[Any]]:
        """One of at most ``size`` connections that read; one that saw an error is thrown away."""
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
        # no plan of its own for every call: finding one takes longer than a small read
        options = f"{self._options} -c plan_cache_mode=force_generic_plan"
        if self._reached:
            return psycopg.connect(
                self.url, autocommit=True, connect_timeout=CONNECT_TIMEOUT, options=options, **_NAMED
            )
        connection = connect(self.url, options=options, **_NAMED)  # a wrong address is told at once
        self._reached = True
        return connection

    def _repeated(self, attempt: Callable[[], T], explain: Callable[[BaseException], bool] = is_driver_error) -> T:
        """Try once, then for as long as ``patience``: setting up the repetition costs more than a small read.

        An error for which ``explain`` holds is raised as one clear line where there is one for it.
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
        from adbc_driver_postgresql import dbapi as postgresql

        joiner = "&" if "?" in self.url else "?"
        extra = f"options={quote(self._options)}&application_name=crypto_pipeline&connect_timeout=5"
        connection: dbapi.Connection = postgresql.connect(f"{self.url}{joiner}{extra}")
        return connection

    def _give_back(self, connection: dbapi.Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < self.size:
                self._idle.append(connection)
                return
        _quietly_close(connection)

    # -- end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close everything. Connections in use are closed when they are given back."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
            idle, self._idle = self._idle, []
        if pool is not None:
            pool.close()
        for _ in range(self.size):
            with contextlib.suppress(queue.Empty):  # one that is in use is closed when it is given back
                reader = self._readers.get_nowait()
                self._readers.put(None)
                if reader is not None:
                    reader.close()
        for connection in idle:
            _quietly_close(connection)

    def _before_use(self) -> None:
        if self._closed:
            raise StoreError("this store is closed: open a new one")
        if not self._reached:  # a wrong address is told at once; one that was right is waited for
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
