"""Errors of PostgreSQL and its drivers: which transactions are worth repeating, and messages for the other errors."""

from __future__ import annotations

import sys
from types import ModuleType

import psycopg

from crypto_pipeline.store.database.connect import NO_ROOM, address, no_room
from crypto_pipeline.store.database.errors import DatabaseAwayError, QueryTooLongError, StoreError

#: server stopping, starting or killed; too many clients; deadlock and serialization failures: a repeat may succeed
_TRANSIENT = {"57P01", "57P02", "57P03", "53300", "40001", "40P01"}
#: A write that fails in this way was refused by a server that answers.
REFUSED_WRITE = (
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.DiskFull,
    psycopg.errors.InsufficientPrivilege,
)
#: What psycopg raises for a database that is away, full or read-only. Anything else is a fault of the program.
OUTAGE = (psycopg.OperationalError, psycopg.InterfaceError, *REFUSED_WRITE)
#: A replica cancelled the read because it replays what the read must not see, under several states (40001, 57014).
_CONFLICT = "conflict with recovery"
_PERMANENT_WORDS = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "invalid connection option",
    "unsupported startup parameter",
    "no such database",
)


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed when it is repeated on a new connection."""
    if isinstance(error, psycopg.InterfaceError):
        return True
    if _CONFLICT in str(error) and is_driver_error(error):
        return True
    if isinstance(error, psycopg.OperationalError):
        if error.sqlstate is None:  # the connection broke, could not be made, or the pool had none in time
            return not any(word in str(error) for word in _PERMANENT_WORDS)
        return error.sqlstate in _TRANSIENT or error.sqlstate.startswith("08")
    adbc = _adbc()
    if adbc is not None and isinstance(error, adbc.dbapi.Error):
        state = error.sqlstate or ""
        is_io = error.status_code == adbc.AdbcStatusCode.IO
        return is_io and (not state or state in _TRANSIENT or state.startswith(("08", "XX")))
    return False


def is_driver_error(error: BaseException) -> bool:
    """Whether one of the two drivers (psycopg, ADBC) raised it."""
    adbc = _adbc()
    return isinstance(error, psycopg.Error) or (adbc is not None and isinstance(error, adbc.dbapi.Error))


def _adbc() -> ModuleType | None:
    """ADBC's module if it was imported, otherwise None: without the import, none of its errors can occur."""
    return sys.modules.get("adbc_driver_manager") if "adbc_driver_manager.dbapi" in sys.modules else None


def explained(error: Exception, url: str, patience: float) -> Exception:
    """The error as a StoreError of one line if it is a known one, otherwise unchanged. ``patience``: seconds waited."""
    if isinstance(error, psycopg.errors.DiskFull):
        return StoreError(f"the disk of PostgreSQL at {address(url)} is full: free some space; nothing was lost")
    cancelled = isinstance(error, psycopg.errors.QueryCanceled) or getattr(error, "sqlstate", None) == "57014"
    if cancelled and _CONFLICT not in str(error):
        return QueryTooLongError("this read takes longer than is allowed: ask for a shorter span or less at once")
    if getattr(error, "sqlstate", None) == "42P01":
        missing = str(error).strip().splitlines()[0]
        return StoreError(f"the database is older than this program ({missing}): `crypto-pipeline up` migrates it")
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return StoreError(f"PostgreSQL at {address(url)} is read-only: use the primary server")
    if is_transient(error):
        said = _reason(error, url)
        if any(words in said for words in NO_ROOM):
            return no_room(url, said)
        return DatabaseAwayError(
            f"PostgreSQL at {address(url)} did not answer for {patience:.0f} s ({said}): is it running?"
        )
    return error


def _reason(error: BaseException, url: str) -> str:
    """Why the database does not answer. psycopg's pool does not say it, so that a new connection is tried once."""
    said = (str(error).strip().splitlines()[-1:] or [type(error).__name__])[0]
    if type(error).__name__ != "PoolTimeout":
        return said
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.Error as refused:
        return (str(refused).strip().splitlines()[-1:] or [said])[0]
    return said


def busy(patience: float) -> DatabaseAwayError:
    """The error for a pool whose connections stayed in use for ``patience`` seconds."""
    return DatabaseAwayError(
        f"no connection became free within {patience:.0f} s: run fewer reads at once, or try later"
    )
