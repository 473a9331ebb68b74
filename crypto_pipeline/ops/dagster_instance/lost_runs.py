"""Runs whose worker is gone: Dagster itself would show them as started for ever."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from crypto_pipeline.ops.host import processes
from crypto_pipeline.ops.host.processes import Identity

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

#: Tags of a run: the process that works on it; the deployment and the boot of the machine whose code server has it.
WORKER, LAUNCHED_BY = "crypto_pipeline/worker", "crypto_pipeline/launched_by"

_PID = re.compile(r"pid: (\d+)")
#: A worker's process is older than its own first event; clocks of the two sources differ a little.
_CLOCK_SLACK = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """A process of one deployment."""

    deployment: str
    process: Identity

    @classmethod
    def parse(cls, text: str) -> Self:
        """What ``str`` wrote. Raises ValueError for anything else."""
        deployment, _, process = text.partition(" ")
        return cls(deployment, Identity.parse(process))

    def __str__(self) -> str:
        return f"{self.deployment} {self.process}"


def launched_by(deployment: str) -> str:
    """Value of the tag ``LAUNCHED_BY`` for what this machine starts now."""
    return f"{deployment} {processes.boot_id()}"


class LostRuns:
    """Finds runs whose worker process is gone and reports them as failed, so that they are retried and free their slot.

    Only for runs of this deployment: another one on the same database judges its own, whose process ids mean nothing
    here. A data directory runs in one place at a time, so a worker of an earlier boot is gone. A run is lost when two
    looks in a row say so: the code server notices the death of a worker of its own within a second and reports it
    better.
    """

    def __init__(self, instance: DagsterInstance, deployment: str) -> None:
        self._instance, self._deployment = instance, deployment
        self._suspects: set[str] = set()
        #: Workers by run, as they were when they were first seen alive.
        self._seen: dict[str, Identity] = {}

    def look(self) -> list[str]:
        """One look; returns the ids of runs reported as failed."""
        from dagster import DagsterRunStatus, RunsFilter

        runs = self._instance.get_runs(
            RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]), limit=100
        )
        gone = [run for run in runs if not self._worker_lives(run)]
        lost = [run for run in gone if run.run_id in self._suspects]
        for run in lost:
            # Between the two looks it may have ended by itself.
            now = self._instance.get_run_by_id(run.run_id)
            if now is not None and not now.is_finished:
                self._instance.report_run_failed(
                    now, "The worker process of this run is gone; the run is marked failed."
                )
        self._suspects = {run.run_id for run in gone}
        here = {run.run_id for run in runs}
        self._seen = {run_id: worker for run_id, worker in self._seen.items() if run_id in here}
        return [run.run_id for run in lost]

    def _worker_lives(self, run: DagsterRun) -> bool:
        if (text := run.tags.get(WORKER)) is not None:
            worker = Worker.parse(text)
            return worker.deployment != self._deployment or worker.process.lives()
        deployment, _, boot = run.tags.get(LAUNCHED_BY, "").partition(" ")
        if deployment != self._deployment:
            return True  # not ours to judge
        if boot != processes.boot_id():
            return False
        return self._process_lives(run)

    def _process_lives(self, run: DagsterRun) -> bool:
        """Whether the process that Dagster names in the run's log is there, and is the one that wrote so."""
        from dagster import DagsterEventType

        if (seen := self._seen.get(run.run_id)) is not None:
            return seen.lives()
        events = self._instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
        for event in reversed(events):
            found = _PID.search(event.message)
            if found and "Started process" in event.message:
                started = processes.started_at(int(found[1]))
                worker = Identity.of(int(found[1]))
                if worker is None or started is None or started > event.timestamp + _CLOCK_SLACK:
                    return False
                self._seen[run.run_id] = worker
                return True
        return True  # not one of the workers we know how to judge


def watch(instance: DagsterInstance, deployment: str, interval: float = 5.0) -> None:
    """Look for ever. Troubles (a database that restarts) are logged and the next look tries again."""
    lost = LostRuns(instance, deployment)
    while True:
        try:
            for run_id in lost.look():
                _log.warning("run %s lost its worker: reported as failed", run_id)
        except Exception as error:
            _log.warning("cannot look for lost runs now: %s", error)
        time.sleep(interval)
