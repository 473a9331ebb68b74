"""Changes that need a table for themselves for a moment, between readers and writers that hold it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections

#: Time that one attempt waits for its locks, so that others do not queue behind; seconds of all attempts.
_MOMENT, _PATIENCE = "200ms", 20.0


def drop_between_readers(connections: Connections, work: Callable[[psycopg.Connection[Any]], None], what: str) -> None:
    """Run ``work`` in a transaction of its own, repeated while others hold the locks that it needs.

    ``what`` it drops is for the message. Raises StoreError when they hold them for too long.
    """
    import tenacity  # takes longer than a small read, and who reads imports this module too

    def attempt(connection: psycopg.Connection[Any]) -> None:
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [_MOMENT])
        work(connection)

    try:
        tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(psycopg.errors.LockNotAvailable),
            stop=tenacity.stop_after_delay(_PATIENCE),
            wait=tenacity.wait_exponential(multiplier=0.1, max=5.0) + tenacity.wait_random(0, 1.0),
            reraise=True,
        )(connections.run, attempt)
    except psycopg.errors.LockNotAvailable:
        raise StoreError(
            f"{what} could not be dropped within {_PATIENCE:.0f} s because of long readers: it is tried again with the "
            "next run"
        ) from None
