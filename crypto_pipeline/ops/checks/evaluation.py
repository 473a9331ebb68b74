"""The evaluation of all operational checks, every few seconds by the notifier and once by the command ``check``."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg

from crypto_pipeline.ops.backups import files
from crypto_pipeline.ops.checks.observation import DiskRoom, Observation
from crypto_pipeline.ops.checks.registry import operational
from crypto_pipeline.ops.checks.states import CheckState, unknown
from crypto_pipeline.ops.checks.subjects.scheduled import JOBS
from crypto_pipeline.ops.host.disk_space import Disk
from crypto_pipeline.settings import Settings
from crypto_pipeline.store.coordination.replica_facts import ReplicaFacts, ReplicaWatch
from crypto_pipeline.store.database.connect import open_session
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pg_errors import OUTAGE
from crypto_pipeline.store.database_url import dagster_url, resolve_url
from crypto_pipeline.store.operations.check_states import NewState, StoredState, read_states, write_states
from crypto_pipeline.store.operations.figures.dagster_facts import DagsterFacts, open_dagster, read_dagster_facts
from crypto_pipeline.store.operations.figures.health_facts import HealthFacts, read_facts

#: Seconds to connect, and for one statement: a look must end before the next one begins.
_CONNECT, _STATEMENT = 3, 5
log = logging.getLogger(__name__)


class Evaluator:
    """Looks at a deployment and judges it. It keeps one connection to each of the two databases."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._holder = f"{socket.gethostname()}:{os.getpid()}"
        self._market: psycopg.Connection[Any] | None = None
        self._dagster: psycopg.Connection[Any] | None = None
        read_url = settings.database_read_url
        self._replica = None if read_url is None else ReplicaWatch(read_url.get_secret_value())

    def evaluate(self) -> list[CheckState]:
        """The state of every operational check now. Never raises for what it finds; a database that is away is a state.

        A check whose requirement is not ok is unknown: its own failure would only repeat the cause.
        """
        return judge(self.observe())

    def observe(self) -> Observation:
        """One look at both databases, the replica, the disk and the backups."""
        took, trouble = self._ping()
        facts, trouble = self._facts() if trouble is None else (None, trouble)
        dagster, dagster_trouble = self._dagster_facts() if facts is not None else (None, "the database is away")
        return Observation(
            self._settings,
            facts,
            trouble,
            took,
            dagster,
            dagster_trouble,
            _disk(self._settings),
            _newest_backup(self._settings),
            files.nightly_backup(self._settings),
            self._replica_facts() if facts is not None else None,
        )

    def record(self, states: Sequence[CheckState]) -> bool:
        """Store the states, open and close their alerts; False where the database does not take them now.

        Raises psycopg.Error for what no outage explains.
        """
        try:
            write_states(self._connection(), [_new(state) for state in states])
        except (StoreError, *OUTAGE) as error:
            log.warning("the states of checks cannot be stored now: %s", str(error).strip().splitlines()[0])
            self._forget_market()
            return False
        return True

    def with_times(self, states: Sequence[CheckState]) -> list[CheckState]:
        """The states with the time since when each is as it is, as far as it was stored before."""
        now = datetime.now(UTC)
        stored = {row.source: row for row in self.stored()}
        found = []
        for state in states:
            row = stored.get(state.source)
            same = row is not None and row.status == state.status
            found.append(replace(state, checked_at=now, since=row.since if row is not None and same else now))
        return found

    def stored(self) -> list[StoredState]:
        """The stored states of all checks; none where the database does not answer."""
        try:
            return read_states(self._connection())
        except (StoreError, psycopg.Error):
            self._forget_market()
            return []

    def close(self) -> None:
        """Close both connections."""
        self._forget_market()
        self._forget_dagster()
        if self._replica is not None:
            self._replica.close()

    def _connection(self) -> psycopg.Connection[Any]:
        if self._market is None or self._market.closed:
            url = resolve_url(self._settings)
            self._market = open_session(url, timeout=_CONNECT, statement_timeout=_STATEMENT)
        return self._market

    def _ping(self) -> tuple[float, str | None]:
        """Seconds of the shortest statement on the kept connection; or why the database does not answer."""
        try:
            connection = self._connection()
            if self._settings.database_direct_url is not None:
                resolve_url(self._settings)  # whether the pooler answers too
            begun = time.monotonic()
            connection.execute("SELECT 1")
            return time.monotonic() - begun, None
        except psycopg.Error:  # the kept connection was cut: a new one decides
            self._forget_market()
        except StoreError as error:
            return 0.0, str(error)
        try:
            begun = time.monotonic()
            self._connection().execute("SELECT 1")
            return time.monotonic() - begun, None
        except (StoreError, psycopg.Error) as error:
            self._forget_market()
            return 0.0, str(error).strip().splitlines()[0]

    def _facts(self) -> tuple[HealthFacts | None, str | None]:
        try:
            return read_facts(self._connection(), self._holder), None
        except StoreError as error:
            trouble = str(error)
        except psycopg.errors.UndefinedTable:
            trouble = "the database has an older schema: `crypto-pipeline up` migrates it"
        except psycopg.Error as error:
            trouble = f"the database does not answer as it should: {str(error).strip().splitlines()[0]}"
        self._forget_market()
        return None, trouble

    def _dagster_facts(self) -> tuple[DagsterFacts | None, str | None]:
        try:
            if self._dagster is None or self._dagster.closed:
                self._dagster = open_dagster(dagster_url(self._settings, resolve_url(self._settings)), _CONNECT)
                self._dagster.execute(f"SET statement_timeout = '{_STATEMENT}s'")
            return read_dagster_facts(self._dagster, JOBS), None
        except (StoreError, psycopg.Error) as error:
            self._forget_dagster()
            return None, str(error).strip().splitlines()[0]

    def _replica_facts(self) -> ReplicaFacts | None:
        if self._replica is None:
            return None
        try:
            return self._replica.look(self._connection())
        except (StoreError, psycopg.Error):  # the primary went away in between: the next look says so
            self._forget_market()
            return None

    def _forget_market(self) -> None:
        if self._market is not None:
            self._market.close()
            self._market = None

    def _forget_dagster(self) -> None:
        if self._dagster is not None:
            self._dagster.close()
            self._dagster = None


def judge(seen: Observation) -> list[CheckState]:
    """The state of every operational check in an observation. Pure."""
    found: dict[str, CheckState] = {}
    for definition in operational(seen.settings):
        assert definition.evaluate is not None
        causes = [name for name in definition.requires if name in found and found[name].status != "ok"]
        hidden = unknown(f"{_HIDDEN}{causes[0]}") if causes else None
        finding = hidden or definition.evaluate(seen)
        found[definition.name] = definition.state(finding, seen.settings)
    return list(found.values())


_HIDDEN = "it cannot be judged because of "


def _disk(settings: Settings) -> DiskRoom | None:
    try:
        disk = Disk(settings.data_dir, settings.disk_reserve_mb)
        kept = disk.limits.reserve == 0 or disk.reserved > 0 or disk.free >= disk.limits.start
        return DiskRoom(disk.total, disk.free, disk.limits.warn, kept)
    except OSError:
        return None


def _newest_backup(settings: Settings) -> float | None:
    """Seconds since the newest backup that was right. A manifest, which names every file, is read again only when it
    was written again.
    """
    folder = files.backup_dir(settings)
    written = tuple(sorted((str(path), path.stat().st_mtime_ns) for path in folder.glob(f"*/{files.MANIFEST}")))
    newest = _newest_right(folder, written)
    return None if newest is None else (datetime.now(UTC) - newest).total_seconds()


@lru_cache(maxsize=1)
def _newest_right(folder: Path, written: tuple[tuple[str, int], ...]) -> datetime | None:
    """When the newest right backup in ``folder`` was made, UTC. ``written``: its manifests and the time of each."""
    right = [one.manifest.created_at for one in files.complete(folder) if one.manifest.right]
    return right[-1] if right else None


def _new(state: CheckState) -> NewState:
    figure = None if state.figure is None else float(state.figure)  # an array has one type
    return NewState(state.source, state.status, state.severity, state.summary, figure, state.threshold, state.offenders)
