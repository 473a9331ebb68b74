"""``python -m …workers.heartbeat NAME DETAIL``: the heartbeat of the worker that started this program.

A program of its own, so that the process from which runs are forked has no thread and no connection. It ends with its
worker. Where the worker ended on purpose its row is deleted; where it was killed the row says so, or, where this
program was killed with it, grows old.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from crypto_pipeline.ops.dagster_instance.workers.configuration import row_name
from crypto_pipeline.ops.host.processes import Identity, die_with_parent
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store.coordination.heartbeats import end_heartbeat, forget_heartbeat, write_heartbeat
from crypto_pipeline.store.database.connect import open_session
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database_url import resolve_url

#: Seconds between two heartbeats.
EVERY = 1.0
#: How often the last words of a worker are tried, a second apart.
_LAST_WORDS = 10
_CONNECT, _STATEMENT = 2, 2
log = logging.getLogger(__name__)


class WorkerHeartbeat:
    """Writes the row of one worker over one kept connection, until it is told to stop."""

    def __init__(self, name: str, worker: Identity, detail: dict[str, Any]) -> None:
        self.stop = threading.Event()
        #: Set, before ``stop``, where the worker was killed.
        self.killed = threading.Event()
        self._row, self._worker, self._detail = row_name(name), worker, detail
        self._connection: psycopg.Connection[Any] | None = None

    def run(self) -> None:
        """Write until ``stop`` is set, then delete the row, or say in it that the worker was killed."""
        while not self.stop.is_set():
            self._try(self._write)
            self.stop.wait(EVERY)
        for _ in range(_LAST_WORDS):
            if self._try(self._end):
                break
            time.sleep(EVERY)
        self._close()

    def _write(self, connection: psycopg.Connection[Any]) -> None:
        detail = self._detail | {"session": connection.info.backend_pid}
        write_heartbeat(connection, self._row, str(self._worker), detail)

    def _end(self, connection: psycopg.Connection[Any]) -> None:
        if self.killed.is_set():
            end_heartbeat(connection, self._row, str(self._worker))
        else:
            forget_heartbeat(connection, self._row)

    def _try(self, work: Callable[[psycopg.Connection[Any]], None]) -> bool:
        try:
            work(self._connected())
        except (StoreError, psycopg.Error) as error:  # the database may be away for a while
            log.warning("cannot write the heartbeat of %s now: %s", self._row, error)
            self._close()
            return False
        return True

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = open_session(
                resolve_url(load_settings()), timeout=_CONNECT, statement_timeout=_STATEMENT
            )
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def main(name: str, detail: str) -> None:
    """Be the heartbeat of the parent process."""
    parent = os.getppid()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    die_with_parent(signal.SIGUSR1)
    worker = Identity.of(parent)
    if worker is None or parent != os.getppid():
        return
    beat = WorkerHeartbeat(name, worker, json.loads(detail))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: beat.stop.set())

    def killed(*_: object) -> None:
        beat.killed.set()
        beat.stop.set()

    signal.signal(signal.SIGUSR1, killed)
    if parent != os.getppid():
        return
    beat.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
