"""The store of a process that opens one again and again: over connections that stay open in between.

The code server opens a store for each tick of a sensor, and a run one for each of its steps. A new store needs three
connections, which cost more processor time than what is asked over them.
"""

from __future__ import annotations

import threading
from multiprocessing.util import Finalize

from crypto_pipeline.settings import Settings
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.connect import plain_url
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import PATIENCE, Connections
from crypto_pipeline.store.database_url import resolve_url
from crypto_pipeline.store.embedded.server import EmbeddedServer
from crypto_pipeline.store.store import Store


class _Kept:
    """The connections that this process and its forked children keep, each its own."""

    def __init__(self) -> None:
        self.keeps, self.patience = False, PATIENCE
        self.after_fork()
        fork_safety.renew_in_children(self)

    def after_fork(self) -> None:
        """Forget the parent's connections, which renew themselves, in a forked child."""
        self.lock = threading.Lock()
        self.connections: Connections | None = None


_kept = _Kept()


class _SharedStore(Store):
    """A store over connections that outlive it."""

    def __init__(self, connections: Connections, batch_rows: int) -> None:
        super().__init__(connections.url, batch_rows=batch_rows)
        self.connections = connections
        self._symbols = Symbols(connections)

    def close(self) -> None:
        """Leave the connections open: they belong to the process."""


def keep_connections(patience: float = PATIENCE) -> None:
    """Let ``open_store`` keep connections in this process and in those that are forked from it.

    ``patience``: seconds for which a statement waits for a database that went away.
    """
    _kept.keeps, _kept.patience = True, patience


def open_store(settings: Settings) -> Store:
    """A store at the database of ``settings``; close it, or use ``with``. Raises StoreError as ``resolve_url`` does."""
    if not _kept.keeps:
        return Store(resolve_url(settings), batch_rows=settings.write_batch_rows)
    with _kept.lock:
        if _kept.connections is None or _kept.connections.url != plain_url(_stated_url(settings)):
            if _kept.connections is not None:
                _kept.connections.close()
            connections = Connections(resolve_url(settings), patience=_kept.patience)
            Finalize(None, connections.close, exitpriority=1)  # forked processes end without atexit
            _kept.connections = connections
        return _SharedStore(_kept.connections, settings.write_batch_rows)


def _stated_url(settings: Settings) -> str:
    """The URL of the database without asking whether a server answers there."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return EmbeddedServer(settings.data_dir).url()
