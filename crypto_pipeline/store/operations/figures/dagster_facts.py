"""What Dagster's own database says of its daemon, schedules, sensors, queue and runs, by bounded SQL.

Dagster stores times without a zone, in the time zone of its session. So this connection sets no time zone, and ages
are taken against ``LOCALTIMESTAMP``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import psycopg

from crypto_pipeline.store.database.connect import connect, plain_url

_DAEMON = """
SELECT daemon_type, extract(epoch FROM LOCALTIMESTAMP - timestamp)::float8 FROM daemon_heartbeats ORDER BY 1 LIMIT 50
"""
_INSTIGATORS = """
SELECT i.instigator_type, i.status, i.instigator_body, extract(epoch FROM LOCALTIMESTAMP - i.create_timestamp)::float8,
       t.status, extract(epoch FROM LOCALTIMESTAMP - t.timestamp)::float8,
       extract(epoch FROM LOCALTIMESTAMP - s.timestamp)::float8
FROM instigators i
LEFT JOIN LATERAL (
    SELECT status, timestamp FROM job_ticks j WHERE j.selector_id = i.selector_id ORDER BY timestamp DESC LIMIT 1
) AS t ON true
LEFT JOIN LATERAL (
    SELECT timestamp FROM job_ticks j WHERE j.selector_id = i.selector_id AND j.status IN ('SUCCESS', 'SKIPPED')
    ORDER BY timestamp DESC LIMIT 1
) AS s ON true
WHERE i.selector_id IS NOT NULL ORDER BY i.id LIMIT 500
"""
_QUEUE = """
SELECT count(*), extract(epoch FROM LOCALTIMESTAMP - min(create_timestamp))::float8 FROM runs WHERE status = 'QUEUED'
"""
# Runs that show ingest are never queued.
_STARTED = """
SELECT count(*) FROM runs r WHERE status <> 'QUEUED' AND update_timestamp > LOCALTIMESTAMP - interval '10 minutes'
  AND (status IN ('STARTING') OR to_timestamp(start_time) > clock_timestamp() - interval '10 minutes')
  AND NOT EXISTS (SELECT FROM run_tags t WHERE t.run_id = r.run_id AND t.key = %(worker)s)
"""
_HOLDING = """
SELECT pipeline_name, count(*) FROM runs WHERE status IN ('STARTING', 'STARTED', 'CANCELING') GROUP BY 1 ORDER BY 2 DESC
"""
_LAST_RUNS = """
SELECT DISTINCT ON (pipeline_name) pipeline_name, status, run_id,
       extract(epoch FROM LOCALTIMESTAMP - update_timestamp)::float8
FROM runs WHERE pipeline_name = ANY(%(jobs)s) AND status IN ('SUCCESS', 'FAILURE', 'CANCELED')
ORDER BY pipeline_name, id DESC
"""


@dataclass(frozen=True, slots=True)
class Instigator:
    """A schedule or sensor: when it last ticked and last succeeded.

    Attributes:
        name: As in the Dagster UI.
        kind: SCHEDULE or SENSOR.
        running: Whether it is turned on.
        cron: Of a schedule; None of a sensor.
        made: Seconds since Dagster first stored it.
        last_status: Of the newest tick; None if there was none.
        last_tick: Seconds since the newest tick; None if there was none.
        last_success: Seconds since the newest tick that did not fail; None if there was none.
    """

    name: str
    kind: str
    running: bool
    cron: str | None
    made: float
    last_status: str | None
    last_tick: float | None
    last_success: float | None


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest finished run of a job. ``age``: seconds since it ended."""

    job: str
    status: str
    run_id: str
    age: float


@dataclass(frozen=True, slots=True)
class DagsterFacts:
    """Dagster's state at one moment.

    Attributes:
        daemon: Kind of daemon → seconds since its heartbeat.
        instigators: Schedules and sensors.
        queued: Runs that wait.
        oldest_queued: Seconds for which the oldest of them has waited; None if none waits.
        started: Runs that were started in the last ten minutes, without those that show ingest.
        holding: Job → runs that hold a slot.
        last_runs: Job → its newest finished run.
    """

    daemon: dict[str, float] = field(default_factory=dict)
    instigators: tuple[Instigator, ...] = ()
    queued: int = 0
    oldest_queued: float | None = None
    started: int = 0
    holding: dict[str, int] = field(default_factory=dict)
    last_runs: dict[str, LastRun] = field(default_factory=dict)


def read_dagster_facts(
    connection: psycopg.Connection[Any], jobs: list[str], worker_tag: str = "crypto_pipeline/worker"
) -> DagsterFacts:
    """Read all facts; of ``jobs`` the newest finished run. Raises psycopg.Error."""
    queued = connection.execute(_QUEUE).fetchone()
    started = connection.execute(_STARTED, {"worker": worker_tag}).fetchone()
    assert queued is not None
    assert started is not None
    return DagsterFacts(
        daemon=read_daemon_ages(connection),
        instigators=read_instigators(connection),
        queued=queued[0],
        oldest_queued=queued[1],
        started=started[0],
        holding=dict(connection.execute(_HOLDING).fetchall()),
        last_runs={row[0]: LastRun(*row) for row in connection.execute(_LAST_RUNS, {"jobs": jobs})},
    )


def read_daemon_ages(connection: psycopg.Connection[Any]) -> dict[str, float]:
    """Kind of daemon → seconds since its heartbeat. Raises psycopg.Error."""
    return dict(connection.execute(_DAEMON).fetchall())


def read_instigators(connection: psycopg.Connection[Any]) -> tuple[Instigator, ...]:
    """Schedules and sensors, at most 500. Raises psycopg.Error."""
    return tuple(_instigator(*row) for row in connection.execute(_INSTIGATORS))


def open_dagster(url: str, timeout: int = 5) -> psycopg.Connection[Any]:
    """A connection to Dagster's database ``url``, in the server's own time zone. Raises StoreError."""
    return connect(plain_url(url), timeout=timeout)


def _instigator(
    kind: str, status: str, body: str, made: float, last_status: str | None, tick: float | None, good: float | None
) -> Instigator:
    said = json.loads(body)
    origin = said.get("origin") or {}
    data = said.get("job_specific_data") or said.get("instigator_data") or {}
    return Instigator(
        name=str(origin.get("job_name") or origin.get("instigator_name") or "unnamed"),
        kind=kind,
        running=status != "STOPPED",
        cron=data.get("cron_schedule"),
        made=made,
        last_status=last_status,
        last_tick=tick,
        last_success=good,
    )
