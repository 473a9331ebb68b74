"""Which workers live, by their heartbeat rows."""

from __future__ import annotations

import time

import psycopg

from crypto_pipeline.ops.dagster_instance.lost_runs import Worker
from crypto_pipeline.ops.dagster_instance.workers.configuration import WORKER_ROW
from crypto_pipeline.store.coordination.heartbeats import Heartbeat, Heartbeats
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections

#: Seconds between two heartbeats of a worker; without one for so long it is gone.
EVERY, SILENT = 1.0, 8.0
#: Seconds for which one look serves all runs.
_KEPT = 1.0


class Liveness:
    """Looks at the rows of workers, at most once a second."""

    def __init__(self, url: str) -> None:
        self._connections = Connections(url, size=1, patience=2.0)
        self._heartbeats = Heartbeats(self._connections)
        self._looked = -_KEPT
        self._rows: dict[str, Heartbeat] = {}

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
        if row.age >= SILENT:
            return f"The {worker.deployment} has said nothing for {row.age:.0f} s."
        return None

    def _look(self) -> dict[str, Heartbeat]:
        if time.monotonic() - self._looked >= _KEPT:
            self._rows = {row.name: row for row in self._heartbeats.all(f"{WORKER_ROW}%")}
            self._looked = time.monotonic()
        return self._rows
