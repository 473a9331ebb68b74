"""The materialized views for people and tools: rebuilt under another name and renamed, so that readers never wait.

REFRESH locks readers out while it works; REFRESH … CONCURRENTLY does not, but compares every row and takes five
times as long. So a view is built under another name and gets the old one's name in a transaction of a millisecond,
which fails at once if a reader has the view locked. CONCURRENTLY is used if a reader keeps it locked for long, or
if other objects depend on the view that a renaming would lose (views, indexes, grants on columns).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import polars as pl
import psycopg
from psycopg import sql

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.sessions.locks import lock_session
from crypto_pipeline.store.views import sql as view_sql

#: Views by name, with their span as a PostgreSQL interval.
BAR_VIEWS = {"ohlc_today": "24 hours", "ohlc_recent": "7 days"}
VIEWS = (*BAR_VIEWS, "instrument_summary")

_LOCK_SPACE = 0x76696577  # "view"
#: Advisory lock that a long reader of the catalogue (a backup) holds: meanwhile no view is replaced.
CATALOG_LOCK = (_LOCK_SPACE, 0)
#: Milliseconds that a reader may wait; number of attempts to exchange the names, and seconds between them.
_READERS_WAIT = 10
_ATTEMPTS, _PAUSE = 50, 0.03


@dataclass(frozen=True, slots=True)
class Refreshed:
    """Result of a refresh. ``method``: swap or concurrently; ``because`` says why it was not a swap."""

    name: str
    rows: int
    seconds: float
    at: datetime
    method: str
    because: str = ""


class Views:
    """Refreshes ``market.ohlc_today``, ``market.ohlc_recent`` and ``market.instrument_summary``. Thread-safe."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def state(self) -> pl.DataFrame:
        """One row per view: ``name``, ``rows``, ``bytes``, ``refreshed_at``, ``age_seconds``, ``seconds``,
        ``method``.
        """
        return self._connections.frame(view_sql.STATE).with_columns(pl.col("refreshed_at").cast(UTC_MS))

    def refresh(self, name: str) -> Refreshed:
        """Refresh one view without blocking its readers. Raises StoreError for an unknown name.

        A killed refresh can be repeated: the old view stays until the names are exchanged. Concurrent calls take turns.
        """
        if name not in VIEWS:
            raise StoreError(f"unknown view {name!r}: use one of {', '.join(VIEWS)}")
        return self._connections.run_in_session(_refresh, name)

    def differences(self, name: str) -> pl.DataFrame:
        """Differences of a view from its tables at its refresh: ``instrument``, ``timeframe``, ``open_time``,
        ``fault``.

        At most 1,000 rows, none if the view is correct. Rows that were in writing during the refresh may be in the view
        or not; all others must be equal. Raises StoreError for an unknown name.
        """
        from crypto_pipeline.store.views import proof

        if name not in VIEWS:
            raise StoreError(f"unknown view {name!r}: use one of {', '.join(VIEWS)}")

        def look(connection: psycopg.Connection[Any]) -> pl.DataFrame:
            with _turn(connection, name):  # a refresh between the two queries would look like a difference
                connection.commit()
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                return proof.differences(connection, name, BAR_VIEWS.get(name))

        return self._connections.run_in_session(look)


@contextmanager
def _turn(connection: psycopg.Connection[Any], name: str) -> Iterator[None]:
    """Let one process at a time work on a view. It is a lock of the session, because a refresh has several
    transactions; a broken connection releases it.
    """
    key = [_LOCK_SPACE, VIEWS.index(name) + 1]
    lock_session(connection, key)
    try:
        yield
    finally:
        if not connection.closed:
            connection.rollback()
            connection.execute("SELECT pg_advisory_unlock(%s, %s)", key)


def _refresh(connection: psycopg.Connection[Any], name: str) -> Refreshed:
    started = time.monotonic()
    with _turn(connection, name):
        _drop_leftovers(connection, name)
        attached = connection.execute(view_sql.ATTACHED, {"view": f"market.{name}"}).fetchone()
        if attached:
            return _compare(connection, name, started, f"{attached[0]} depends on it")
        if not _hold(connection, "SELECT pg_try_advisory_lock_shared(%s, %s)"):
            return _compare(connection, name, started, "a backup is reading the catalog")
        try:
            if found := _swap(connection, name, started):
                return found
        finally:
            if not connection.closed:
                connection.rollback()
                _hold(connection, "SELECT pg_advisory_unlock_shared(%s, %s)")
        return _compare(connection, name, started, "a reader has been in the way for seconds")


def _hold(connection: psycopg.Connection[Any], statement: LiteralString) -> bool:
    row = connection.execute(statement, CATALOG_LOCK).fetchone()
    return bool(row and row[0])


def _swap(connection: psycopg.Connection[Any], name: str, started: float) -> Refreshed | None:
    noted = _build(connection, name)
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE)  # polling, because nothing notifies about the end of a reader
        if _exchange(connection, name, noted, started):
            seconds = time.monotonic() - started
            _drop_leftovers(connection, name)
            return _refreshed(name, noted, seconds, "swap")
    _drop_leftovers(connection, name)
    return None


def _build(connection: psycopg.Connection[Any], name: str) -> dict[str, Any]:
    """Build the view under the name ``<name>_fresh`` and commit; return the values to record about it."""
    fresh, view = sql.Identifier("market", f"{name}_fresh"), f"market.{name}"
    noted = _begin(connection, name)
    row = connection.execute(view_sql.DEFINITION, {"view": view}).fetchone()
    assert row is not None
    definition, key, comment = row
    text = sql.SQL("CREATE MATERIALIZED VIEW {} AS {} WITH NO DATA").format(fresh, sql.SQL(definition.rstrip(" ;")))
    connection.execute(text)
    # All snapshots see rows of REFRESH; older transactions do not see rows of CREATE.
    connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(fresh))
    noted["possible"] = _clock(connection)
    columns = sql.SQL(key[key.rindex("(") :])
    index = sql.Identifier(f"{name}_fresh_key")
    connection.execute(sql.SQL("CREATE UNIQUE INDEX {} ON {} {}").format(index, fresh, columns))
    noted["rows"] = _counted(connection, f"{view}_fresh")
    connection.execute(sql.SQL("COMMENT ON MATERIALIZED VIEW {} IS {}").format(fresh, sql.Literal(comment)))
    _dress(connection, name, fresh)
    # Without statistics the first queries get bad plans. Queries filter by the columns of the key; statistics of all
    # columns would take a tenth of the whole refresh.
    connection.execute("SET LOCAL default_statistics_target = 10")
    connection.execute(sql.SQL("ANALYZE {} {}").format(fresh, columns))
    # A power failure shortly after may restore the old view; the new one's file is on disk in any case.
    connection.execute("SET LOCAL synchronous_commit = off")
    connection.commit()
    return noted


def _dress(connection: psycopg.Connection[Any], name: str, fresh: sql.Identifier) -> None:
    """Copy grants and comments of the existing view."""
    for grantee, privilege, grantable in connection.execute(view_sql.GRANTS, [f"market.{name}"]).fetchall():
        role = sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee)
        grant = sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(privilege), fresh, role)
        connection.execute(grant + sql.SQL(" WITH GRANT OPTION") if grantable else grant)
    for column, text in connection.execute(view_sql.COLUMN_COMMENTS, [f"market.{name}"]).fetchall():
        target = sql.Identifier("market", f"{name}_fresh", column)
        connection.execute(sql.SQL("COMMENT ON COLUMN {} IS {}").format(target, sql.Literal(text)))


def _exchange(connection: psycopg.Connection[Any], name: str, noted: dict[str, Any], started: float) -> bool:
    """Give the new view the name. False, without a change, if a reader has locked the old one."""
    old = f"{name}_old_{time.time_ns() // 1_000_000}"
    names = {
        "view": sql.Identifier("market", name),
        "fresh": sql.Identifier("market", f"{name}_fresh"),
        "key": sql.Identifier("market", f"{name}_key"),
        "fresh_key": sql.Identifier("market", f"{name}_fresh_key"),
        "to": sql.Identifier(name),
        "key_to": sql.Identifier(f"{name}_key"),
        "old": sql.Identifier(old),
        "old_key": sql.Identifier(f"{old}_key"),
    }
    try:
        _hurry(connection)
        # After a power failure either view may have the name; both are valid.
        connection.execute("SET LOCAL synchronous_commit = off")
        for statement in view_sql.RENAMES:
            connection.execute(sql.SQL(statement).format(**names))
        connection.execute(view_sql.NOTE, noted | {"seconds": time.monotonic() - started, "method": "swap"})
        connection.commit()
    except psycopg.errors.LockNotAvailable:
        connection.rollback()
        return False
    return True


def _compare(connection: psycopg.Connection[Any], name: str, started: float, because: str) -> Refreshed:
    """Run REFRESH … CONCURRENTLY: slower, but independent of readers' locks."""
    noted = _begin(connection, name)
    view = sql.Identifier("market", name)
    connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW CONCURRENTLY {}").format(view))
    noted["possible"] = _clock(connection)
    counted = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(view)).fetchone()
    noted["rows"] = counted[0] if counted else 0
    seconds = time.monotonic() - started
    connection.execute(view_sql.NOTE, noted | {"seconds": seconds, "method": "concurrently"})
    connection.commit()
    return _refreshed(name, noted, seconds, "concurrently", because)


def _begin(connection: psycopg.Connection[Any], name: str) -> dict[str, Any]:
    """Begin a new transaction, so that ``now()`` is the current time; return the values that are known before.

    They come from one snapshot, so that the market's clock, which may be set meanwhile, is the same in the view's
    query.
    """
    connection.commit()
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    row = connection.execute(view_sql.CERTAIN).fetchone()
    assert row is not None
    return {"name": name, "view": f"market.{name}", "at": row[0], "certain": row[1], "market": row[2]}


def _clock(connection: psycopg.Connection[Any]) -> datetime:
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


def _counted(connection: psycopg.Connection[Any], view: str) -> int:
    """Number of rows, as counted by the creation of the index."""
    row = connection.execute("SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = %s::regclass", [view])
    found = row.fetchone()
    return int(found[0]) if found else 0


def _refreshed(name: str, noted: dict[str, Any], seconds: float, method: str, because: str = "") -> Refreshed:
    return Refreshed(name, int(noted["rows"]), seconds, noted["at"], method, because)


def _hurry(connection: psycopg.Connection[Any]) -> None:
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{_READERS_WAIT}ms")))


def _drop_leftovers(connection: psycopg.Connection[Any], name: str) -> None:
    """Drop replaced views, and one that a killed refresh left. A view that is still read is dropped the next time."""
    connection.commit()
    wanted = {"fresh": f"{name}_fresh", "old": f"{name}_old_"}
    for (left,) in connection.execute(view_sql.LEFTOVERS, wanted).fetchall():
        try:
            _hurry(connection)
            connection.execute(sql.SQL("DROP MATERIALIZED VIEW {}").format(sql.Identifier("market", left)))
            connection.commit()
        except psycopg.errors.LockNotAvailable:
            connection.rollback()
