"""The supervisor's heartbeat: what it saw of every program, as a row that the checks judge."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import Any

import psycopg

from crypto_pipeline.ops.supervision.health import HealthReport
from crypto_pipeline.store.coordination.heartbeats import SUPERVISOR, forget_heartbeat, write_heartbeat
from crypto_pipeline.store.database.connect import open_session
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pg_errors import OUTAGE

log = logging.getLogger(__name__)

_EVERY = 5.0
_CONNECT, _STATEMENT = 2, 2


class SupervisorHeartbeat:
    """Writes the row of one deployment, over one kept connection. While the database is away nothing is written."""

    def __init__(self, url: str, deployment: str) -> None:
        self._url = url
        self._name = f"{SUPERVISOR}:{deployment}"
        self._holder = f"{socket.gethostname()}:{os.getpid()}"
        self._connection: psycopg.Connection[Any] | None = None
        self._written = 0.0

    def write(self, report: HealthReport, phase: str) -> None:
        """Write what the report says, at most every five seconds."""
        if time.monotonic() - self._written < _EVERY:
            return
        self._written = time.monotonic()
        detail = {"phase": phase, "programs": _programs(report), "others": _others(report)}
        try:
            write_heartbeat(self._connected(), self._name, self._holder, detail)
        except (StoreError, *OUTAGE):
            self._close()  # the check `database` says so
        except psycopg.Error as error:  # a fault of ours must not end the supervision, and is not to be silent
            self._close()
            log.error("the row of the supervisor cannot be written: %s", error)

    def forget(self) -> None:
        """Delete the row: the deployment is stopped on purpose."""
        try:
            forget_heartbeat(self._connected(), self._name)
        except (StoreError, psycopg.Error):
            pass  # the database is stopped too: nobody judges the row
        self._close()

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = open_session(self._url, timeout=_CONNECT, statement_timeout=_STATEMENT)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _programs(report: HealthReport) -> dict[str, dict[str, Any]]:
    now = time.time()
    return {
        info.name: {
            "state": info.state,
            "pid": info.pid,
            "uptime": None if info.started_at is None else round(now - info.started_at, 1),
            "trouble": report.troubles.get(info.name),
        }
        for info in report.processes
    }


def _others(report: HealthReport) -> dict[str, str]:
    """Troubles of what is no program: the venue, the database, supervisord."""
    names = {info.name for info in report.processes}
    return {name: trouble for name, trouble in report.troubles.items() if name not in names}
