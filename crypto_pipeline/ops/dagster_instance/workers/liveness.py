"""Which workers live, by their heartbeat rows and by the sessions that write them."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg

from crypto_pipeline.ops.dagster_instance.lost_runs import Worker
from crypto_pipeline.ops.dagster_instance.workers.configuration import WORKER_ROW
from crypto_pipeline.store.coordination.heartbeats import Presence, read_presence
from crypto_pipeline.store.coordination.leases import end_leases
from crypto_pipeline.store.database.connect import open_session
from crypto_pipeline.store.database.errors import StoreError

#: Seconds without a heartbeat, of which there is one a second, after which a worker is gone; and where the session that
#: wrote it is closed too.
SILENT, CLOSED = 8.0, 3.0
#: Seconds for which one look serves all runs.
_KEPT = 0.8
_CONNECT, _STATEMENT = 2, 2


class Liveness:
    """Looks at the rows of workers, at most once in ``_KEPT`` seconds, over one kept session. Thread-safe."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: psycopg.Connection[Any] | None = None
        self._lock = threading.Lock()
        self._looked = -_KEPT
        self._rows: dict[str, Presence] = {}

    def trouble(self, worker: Worker) -> str | None:
        """Why nobody can be working on the runs of ``worker``; None while it lives, or where nobody can say."""
        try:
            row = self._look().get(worker.deployment)
        except (StoreError, psycopg.Error):
            return None
        if row is None:
            return f"The {worker.deployment} was stopped."
        if row.holder != str(worker.process):
            return f"The {worker.deployment} was started again: the process of this run ended with the one before."
        return _trouble(row)

    def living(self) -> frozenset[tuple[str, str]]:
        """Name and process of every worker that lives. Raises StoreError and psycopg.Error."""
        return frozenset((row.name, row.holder) for row in self._look().values() if _trouble(row) is None)

    def end_leases(self, holder: str) -> None:
        """End what the lost run ``holder`` had leased. Raises StoreError and psycopg.Error."""
        with self._lock:
            end_leases(self._connected(), holder)

    def close(self) -> None:
        """Close the session; the next look opens another one."""
        with self._lock:
            if self._session is not None:
                self._session.close()

    def _look(self) -> dict[str, Presence]:
        with self._lock:
            if time.monotonic() - self._looked >= _KEPT:
                self._rows = {row.name: row for row in read_presence(self._connected(), f"{WORKER_ROW}%")}
                self._looked = time.monotonic()
            return self._rows

    def _connected(self) -> psycopg.Connection[Any]:
        if self._session is None or self._session.closed:
            self._session = open_session(self._url, timeout=_CONNECT, statement_timeout=_STATEMENT)
        return self._session


def _trouble(row: Presence) -> str | None:
    if row.ended:
        return f"The {row.name} was killed."
    if row.age >= SILENT or (row.age >= CLOSED and not row.connected):
        return f"The {row.name} has said nothing for {row.age:.0f} s."
    return None
