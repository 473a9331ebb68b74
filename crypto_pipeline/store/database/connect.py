"""Database URLs: parsing them, connecting, and clear messages about failures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from crypto_pipeline.store.database.errors import DatabaseAwayError, StoreError
from crypto_pipeline.store.database.sessions.pooler import (
    DIRECT_VARIABLE,
    DatabaseUrl,
    direct_url,
    is_pooled,
    needs_direct_url,
)

MINIMUM_VERSION = 15
CONNECT_TIMEOUT = 5
_WHICH_DATABASE = "SELECT pg_postmaster_start_time(), oid FROM pg_database WHERE datname = current_database()"
#: What the server, or pgbouncer, says when it has no free connection.
NO_ROOM = ("too many clients", "connection slots are reserved", "too many connections", "no more connections allowed")


def plain_url(url: str) -> str:
    """``url`` with libpq's scheme, without a driver's name."""
    found = urlunsplit(urlsplit(url)._replace(scheme="postgresql"))
    return DatabaseUrl(found, plain_url(url.direct)) if isinstance(url, DatabaseUrl) else found


def with_database(url: str, name: str) -> str:
    """``url`` pointing at another database of the same server."""
    found = urlunsplit(urlsplit(url)._replace(path="/" + quote(name, safe="")))
    return DatabaseUrl(found, with_database(url.direct, name)) if isinstance(url, DatabaseUrl) else found


def database_name(url: str) -> str:
    """The database of ``url``; libpq's default is the user's name."""
    parts = urlsplit(url)
    return unquote(parts.path.lstrip("/")) or unquote(parts.username or "") or "postgres"


def redact(url: str) -> str:
    """``url`` for printing: without its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))


def demands_tls(url: str) -> bool:
    """Whether ``url`` (or libpq's PGSSLMODE) refuses a connection without encryption."""
    chosen = dict(parse_qsl(urlsplit(url).query)).get("sslmode") or os.environ.get("PGSSLMODE", "")
    return chosen == "require" or chosen.startswith("verify")


def address(url: str) -> str:
    """``host:port`` of ``url``."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 5432}"


def connect(
    url: str, *, autocommit: bool = True, timeout: int = CONNECT_TIMEOUT, **options: Any
) -> psycopg.Connection[tuple[Any, ...]]:
    """Open one connection outside of any pool; ``options`` are libpq's. Behind a pooler it prepares no statement.

    Raises StoreError if no server answers within ``timeout`` seconds or the server is too old.
    """
    if isinstance(url, DatabaseUrl):
        options["prepare_threshold"] = None
    try:
        connection = psycopg.connect(plain_url(url), autocommit=autocommit, connect_timeout=timeout, **options)
    except psycopg.OperationalError as error:
        raise explain_failure(error, url) from None
    except psycopg.ProgrammingError as error:
        raise StoreError(f"cannot read database URL {redact(url)}: {_one_line(error)}") from None
    version = connection.info.server_version // 10_000
    if version < MINIMUM_VERSION:
        connection.close()
        raise StoreError(
            f"PostgreSQL at {address(url)} is version {version}: version {MINIMUM_VERSION} or newer is needed; "
            "upgrade it, or unset CRYPTO_PIPELINE_DATABASE_URL to use the embedded server"
        )
    return connection


def open_session(url: str, *, timeout: int, statement_timeout: float) -> psycopg.Connection[tuple[Any, ...]]:
    """A session of the server itself, past a pooler, whose statements are cancelled after so many seconds.

    For a connection that is kept and never waits for others. Otherwise as ``connect``.
    """
    options = f"-c statement_timeout={int(statement_timeout * 1000)}"
    return connect(direct_url(url), timeout=timeout, options=options)


def check_server(url: str) -> None:
    """Raise StoreError unless a server of a supported version answers; the database need not exist yet.

    Also if a pooler answers and the URL does not have its server's address.
    """
    try:
        with connect(url) as connection:
            if not isinstance(url, DatabaseUrl) and is_pooled(connection):
                raise needs_direct_url(url)
    except StoreError as error:
        if not isinstance(error, MissingDatabaseError):
            raise


def check_direct_url(url: str) -> None:
    """Raise StoreError if the direct URL of a pooler's ``url`` leads to another database, or to a pooler too."""
    if not isinstance(url, DatabaseUrl):
        return
    with connect(url) as pooled, connect(url.direct) as direct:
        if is_pooled(direct):
            raise StoreError(
                f"{DIRECT_VARIABLE} leads to a pooler, at {address(url.direct)}: give PostgreSQL's own address"
            )
        here, there = (connection.execute(_WHICH_DATABASE).fetchone() for connection in (pooled, direct))
        if here != there:
            raise StoreError(
                f"the pooler at {address(url)} leads to another database than {DIRECT_VARIABLE}, at "
                f"{address(url.direct)}: correct one of the two URLs"
            )


def ensure_databases(url: str, names: Sequence[str]) -> None:
    """Create the missing databases on the server of ``url``, past a pooler.

    Several processes may do so at once. Raises StoreError.
    """
    url = direct_url(url)
    with any_connection(url) as connection:
        for name in names:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                continue
            try:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                continue
            except psycopg.errors.InsufficientPrivilege:
                raise StoreError(
                    f"database {name!r} does not exist at {address(url)} and this user may not create it: "
                    f'run `CREATE DATABASE "{name}"` there as its administrator'
                ) from None


def any_connection(url: str) -> psycopg.Connection:
    """A connection to an existing database: one of the usual maintenance databases, otherwise the one of ``url``."""
    for candidate in (with_database(url, "postgres"), with_database(url, "template1")):
        try:
            return connect(candidate)
        except MissingDatabaseError:
            continue
    return connect(url)


class MissingDatabaseError(StoreError):
    """The server answers but has no such database."""


def explain_failure(error: psycopg.Error, url: str) -> StoreError:
    """The StoreError, in one line, for a failed connection."""
    said = _one_line(error)
    where = address(url)
    if "unsupported startup parameter" in said:  # pgbouncer knows few
        return needs_direct_url(url)
    if "no such database" in said:  # in pgbouncer's words
        return StoreError(f"the pooler at {where} has no database {database_name(url)!r}: add it to its [databases]")
    if any(words in said for words in NO_ROOM):
        return no_room(url, said)
    if "does not exist" in said and "database" in said:
        return MissingDatabaseError(
            f"database {database_name(url)!r} does not exist at {where}: start `crypto-pipeline up`, which creates it"
        )
    if "authentication failed" in said or "no password supplied" in said or "no pg_hba.conf entry" in said:
        return StoreError(f"PostgreSQL at {where} refuses {redact(url)}: {said}; correct user and password in the URL")
    return StoreError(
        f"cannot reach PostgreSQL at {where}: {said}; is it running, and is CRYPTO_PIPELINE_DATABASE_URL right?"
    )


def no_room(url: str, said: str) -> DatabaseAwayError:
    """The error for a server that has no free connection; ``said`` are its words."""
    return DatabaseAwayError(
        f"PostgreSQL at {address(url)} has no free connection ({said}): raise its max_connections, or that of the role "
        "or the database, or close other sessions"
    )


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # libpq tries all addresses of a host and repeats its message; the last line has the final error
    meaningful = [line for line in lines if not line.startswith(("Multiple connection attempts", "Is the server"))]
    said = (meaningful or lines or [type(error).__name__])[-1]
    return said.rpartition("FATAL:")[2].strip() if "FATAL:" in said else said.removeprefix("- ")
