"""Work that one process at a time does on a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg

from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.sessions.pooler import direct_url

_MOMENT = "3s"


@contextmanager
def exclusively(connections: Connections, number: int, what: str) -> Iterator[Callable[[], None]]:
    """Hold the advisory lock ``number`` for the block; the database releases it when the process ends in any way.

    The block is given a function that raises StoreError if the lock is lost, as after a crash of the server. Raises
    StoreError, which says that another run of ``what`` is at work.
    """
    connections.run(lambda connection: None)  # waits for a server that restarts
    with connect(direct_url(connections.url)) as connection:
        # the server needs a moment to notice that a holder has ended
        connection.execute("SELECT set_config('lock_timeout', %s, false)", [_MOMENT])
        try:
            connection.execute("SELECT pg_advisory_lock(%s)", [number])
        except psycopg.errors.LockNotAvailable:
            raise StoreError(f"another {what} run is at work: wait for its end, see `crypto-pipeline status`") from None
        yield partial(require_session, connection)


def require_session(connection: psycopg.Connection[Any]) -> None:
    """Raise StoreError if the session, whose locks one works under, has ended."""
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        raise StoreError(f"the lock of this run is lost, another one may work: {str(error).strip()}") from None
