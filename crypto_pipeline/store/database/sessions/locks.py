"""Advisory locks of a session, waited for in statements of bounded length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

#: Seconds that one statement waits. A role of an application usually has a limit on the time of statements.
_WAIT = 30


def lock_session(connection: psycopg.Connection[Any], key: Sequence[int]) -> None:
    """Take the advisory lock ``key`` (one number, or two) for this session, however long it takes.

    The connection must be in no transaction, and be a session of the server itself (see ``pooler``). The lock ends with
    the session.
    """
    statement = f"SELECT pg_advisory_lock({', '.join(['%s'] * len(key))})"
    while True:
        try:
            with connection.transaction():
                connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{_WAIT}s"])
                connection.execute(statement, key)
                return
        except psycopg.errors.LockNotAvailable:
            continue
