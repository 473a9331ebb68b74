"""Sensors that are not evaluated while nothing that they look at has changed.

A sensor that must be quick ticks every few seconds, and each tick costs some ten statements and a call of the code
server, also where there is nothing to do. Here the daemon asks one statement for all of them: it evaluates a sensor
with the tag ``CHANGES`` when what the tag names has changed since its last tick, when that tick got on or failed, and
at least every three minutes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from crypto_pipeline.ingest.shards import heartbeat_name
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store.coordination.heartbeats import Heartbeats
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database_url import resolve_url
from crypto_pipeline.store.operations.changes import newest_instrument_change, newest_run_change

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from dagster._core.remote_representation.external import RemoteSensor
    from dagster._core.scheduler.instigation import InstigatorState

#: Tag of a sensor: what it looks at, divided by spaces.
CHANGES = "crypto_pipeline/changes"
#: What the tag may name: runs of Dagster that began, ended or waited; instruments that were added or removed; shards of
#: ingest that fell silent or want a successor, where runs make live bars.
RUNS, INSTRUMENTS, INGEST = "runs", "instruments", "ingest"
#: A sensor is evaluated at least this often, seconds.
LONGEST_PAUSE = 180.0
#: Seconds for which a question waits for a database that went away.
_PATIENCE = 2.0
#: Seconds for which one answer serves all sensors.
_KEPT = 1.0
#: Seconds without a heartbeat after which a shard of ingest is taken for dead, as by its supervising sensor.
_INGEST_SILENT = 20.0

log = logging.getLogger(__name__)


class IdleSensors:
    """What changed, and what each sensor had seen at its last tick. Thread-safe."""

    def __init__(self, sources: Mapping[str, Callable[[], object]]) -> None:
        self._sources = sources
        self._answers: dict[str, tuple[float, object]] = {}
        self._seen: dict[str, tuple[object, ...]] = {}
        self._lock = threading.Lock()

    def ticks(self, sensor: RemoteSensor, state: InstigatorState) -> None:
        """Note that a tick of ``sensor`` begins now, with ``state`` before it."""
        if names := _changes(sensor):
            self._seen[sensor.selector_id] = (*self._now(names), *_progress(state))

    def may_wait(self, sensor: RemoteSensor, state: InstigatorState, elapsed: float | None) -> bool:
        """Whether nothing changed for ``sensor`` since its last tick, which began ``elapsed`` seconds ago."""
        names = _changes(sensor)
        if not names or elapsed is None or elapsed >= LONGEST_PAUSE:
            return False
        if getattr(state.instigator_data, "last_tick_success_timestamp", None) is None:  # it failed, or goes on
            return False
        return self._seen.get(sensor.selector_id) == (*self._now(names), *_progress(state))

    def _now(self, names: list[str]) -> list[object]:
        with self._lock:
            return [self._answer(name) for name in names]

    def _answer(self, name: str) -> object:
        now = time.monotonic()
        asked, answer = self._answers.get(name, (-_KEPT, None))
        if now - asked >= _KEPT:
            try:
                answer = self._sources[name]()
            except Exception as error:  # no reason not to evaluate the sensor
                log.warning("cannot see whether %s changed: %s", name, error)
                answer = now
            self._answers[name] = now, answer
        return answer


def _changes(sensor: RemoteSensor) -> list[str]:
    from dagster._core.definitions.sensor_definition import SensorType

    # A sensor of runs looks at nothing else.
    return RUNS.split() if sensor.sensor_type is SensorType.RUN_STATUS else sensor.tags.get(CHANGES, "").split()


def _progress(state: InstigatorState) -> tuple[object, ...]:
    """What a tick that got on changes, and a person who sets a cursor or starts a sensor."""
    data: Any = state.instigator_data
    return data and (data.cursor, data.last_run_key, data.last_sensor_start_timestamp), state.status


def watched_database() -> IdleSensors:
    """Sensors that are paused by what the database of the market and Dagster's own say."""
    shards = _shards_in_need if load_settings().ingest_by_runs else _nobody
    return IdleSensors({RUNS: _newest_run, INSTRUMENTS: _newest_instrument, INGEST: shards})


def pause_idle_sensors(idle: IdleSensors) -> None:
    """Let the daemon of this process pause its sensors. Call it before the daemon starts."""
    from dagster._daemon import sensor as daemon

    is_early, begin = daemon.is_under_min_interval, daemon.mark_sensor_state_for_tick

    def is_early_or_idle(
        state: InstigatorState, remote_sensor: RemoteSensor, minimum_allowed_min_interval: int | None = None
    ) -> bool:
        early = is_early(state, remote_sensor, minimum_allowed_min_interval)
        return early or idle.may_wait(remote_sensor, state, daemon.get_elapsed(state))

    def mark(
        instance: DagsterInstance, remote_sensor: RemoteSensor, sensor_state: InstigatorState, now: datetime
    ) -> None:
        idle.ticks(remote_sensor, sensor_state)
        begin(instance, remote_sensor, sensor_state, now)

    # Dagster has no option for it.
    daemon.is_under_min_interval = is_early_or_idle
    daemon.mark_sensor_state_for_tick = mark


@lru_cache(maxsize=1)
def _dagster() -> DagsterInstance:
    from dagster import DagsterInstance

    return DagsterInstance.get()


def _newest_run() -> object:
    from dagster._core.storage.runs import SqlRunStorage

    runs = _dagster().run_storage
    assert isinstance(runs, SqlRunStorage)
    with runs.connect() as connection:
        return newest_run_change(connection)


@lru_cache(maxsize=1)
def _market() -> Connections:
    return Connections(resolve_url(load_settings()), size=1, patience=_PATIENCE)


def _newest_instrument() -> object:
    return newest_instrument_change(_market())


def _shards_in_need() -> object:
    beats = Heartbeats(_market()).all(f"{heartbeat_name('')}%")
    return [one.name for one in beats if one.age >= _INGEST_SILENT or one.detail.get("state") == "rotating"]


def _nobody() -> object:
    return None
