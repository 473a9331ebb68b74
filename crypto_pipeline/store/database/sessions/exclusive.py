"""Work that one process at a time does on a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.sessions.pooler import direct_url

_MOMENT = "3s"


@contextmanager
def exclusively(connections: Connections, number: int, what: str) -> Iterator[None]:
    """Hold the advisory lock ``number`` for the block; the database releases it when the process ends in any way.

    Raises StoreError, which says that another run of ``what`` is at work.
    """
    connections.run(lambda connection: None)  # waits for a server that restarts
    with connect(direct_url(connections.url)) as connection:
        # the server needs a moment to notice that a holder has ended
        connection.execute("SELECT set_config('lock_timeout', %s, false)", [_MOMENT])
        try:
            connection.execute("SELECT pg_advisory_lock(%s)", [number])
        except psycopg.errors.LockNotAvailable:
            raise StoreError(f"another {what} run is at work: wait for its end, see `crypto-pipeline status`") from None
        yield
