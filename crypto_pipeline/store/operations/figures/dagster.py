"""Figures of Dagster's own tables for health pages and scrapes: the run queue, daemons, schedules and sensors, and the
runs that requests asked for. Each is one bounded query; Dagster itself is not imported.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from crypto_pipeline.store.database.pg_errors import explained, is_transient
from crypto_pipeline.store.operations.figures.dagster_facts import (
    Instigator,
    open_dagster,
    read_daemon_ages,
    read_instigators,
)
from crypto_pipeline.store.operations.figures.deployment import Rows

T = TypeVar("T")

_QUEUE = """
SELECT lower(status) AS status, count(*) AS runs,
       extract(epoch FROM LOCALTIMESTAMP - min(create_timestamp))::float8 AS oldest_seconds
FROM runs WHERE status IN ('QUEUED', 'NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING') GROUP BY status
"""

_LAUNCHED = "SELECT coalesce(max(id), 0) AS runs FROM runs"

# A run that waits for its place in the queue for so long was lost when the webserver ended while it created it.
_TAGGED = """
SELECT r.run_id, r.pipeline_name AS job, lower(r.status) AS status,
       (SELECT value FROM run_tags WHERE run_id = r.run_id AND key = %(what)s LIMIT 1) AS what
FROM run_tags t JOIN runs r ON r.run_id = t.run_id
WHERE t.key = %(key)s AND t.value = %(value)s
  AND (NOT %(unfinished)s OR r.status IN ('QUEUED', 'STARTING', 'STARTED')
       OR r.status = 'NOT_STARTED' AND r.create_timestamp > LOCALTIMESTAMP - interval '10 minutes')
ORDER BY r.id DESC LIMIT 1
"""

_RECENT_TAGGED = """
SELECT r.run_id, r.pipeline_name AS job, lower(r.status) AS status, t.value AS what
FROM run_tags t JOIN runs r ON r.run_id = t.run_id
WHERE t.key = %(key)s ORDER BY r.id DESC LIMIT %(most)s
"""


class DagsterFigures:
    """Reads Dagster's database ``url`` over one connection of its own, which is kept. Thread-safe.

    A statement that takes longer than ``statement_seconds`` is cancelled. Every method raises StoreError when the
    database does not answer.
    """

    def __init__(self, url: str, statement_seconds: float) -> None:
        self._url, self._statement_seconds = url, statement_seconds
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None

    def queue(self) -> Rows:
        """Unfinished runs by ``status``: how many ``runs``, and the age of the oldest in seconds."""
        return self._rows(_QUEUE)

    def launched(self) -> int:
        """How many runs were ever created; deleted ones are counted too."""
        return int(self._rows(_LAUNCHED)[0]["runs"])

    def daemons(self) -> dict[str, float]:
        """Seconds since each of Dagster's daemons was last heard of, by its kind."""
        return self._read(read_daemon_ages)

    def instigators(self) -> tuple[Instigator, ...]:
        """Schedules and sensors."""
        return self._read(read_instigators)

    def newest_tagged(self, key: str, value: str, what: str, *, unfinished: bool) -> dict[str, Any] | None:
        """The newest run with this tag: ``run_id``, ``job``, ``status``, and its tag called ``what``.

        ``unfinished``: only one that waits, starts or works.
        """
        found = self._rows(_TAGGED, {"key": key, "value": value, "what": what, "unfinished": unfinished})
        return found[0] if found else None

    def tagged(self, key: str, most: int) -> Rows:
        """The newest runs with a tag called ``key``, whose value is ``what``, the newest first."""
        return self._rows(_RECENT_TAGGED, {"key": key, "most": most})

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _rows(self, query: str, given: Mapping[str, Any] | None = None) -> Rows:
        def read(connection: psycopg.Connection[Any]) -> Rows:
            with connection.cursor(row_factory=dict_row) as cursor:
                return cursor.execute(query, given).fetchall()

        return self._read(read)

    def _read(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        with self._lock:
            kept = self._connection is not None
            try:
                return self._once(work)
            except psycopg.Error as error:
                if not (kept and is_transient(error)):
                    raise self._said(error) from error
            try:  # the server may have restarted since the connection was opened
                return self._once(work)
            except psycopg.Error as error:
                raise self._said(error) from error

    def _once(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        if self._connection is None:
            # its time zone stays the server's, in which Dagster stores times
            self._connection = open_dagster(self._url)
            self._connection.execute(f"SET statement_timeout = {int(self._statement_seconds * 1000)}")
        try:
            return work(self._connection)
        except psycopg.Error:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _said(self, error: psycopg.Error) -> Exception:
        return explained(error, self._url, 0.0)
