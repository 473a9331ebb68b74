"""Locks by name that all processes of a deployment share, held for one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crypto_pipeline.store.database.pool import Connections


@contextmanager
def named_locks(connections: Connections, *names: str) -> Iterator[None]:
    """Hold the locks called ``names`` for the block, after waiting until nobody else holds any of them.

    The statement timeout of ``connections`` limits the wait. One connection stays in a transaction for the block.
    """
    with connections.transaction() as connection:
        for name in sorted(names):  # in one order, so that two holders never wait for each other
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
        yield
