"""Runs whose worker process is gone: Dagster itself would show them as started for ever."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from crypto_pipeline.ops.host import processes
from crypto_pipeline.ops.host.processes import Identity

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

#: Tags of a run: the process that executes it; the deployment and boot whose code server started it.
WORKER, LAUNCHED_BY = "crypto_pipeline/worker", "crypto_pipeline/launched_by"
#: Tag of a run that was handed to a worker over Celery; its value is Celery's task. The name is Dagster's.
TASK = "dagster-celery/task_id"
#: Tag of a run that lost its worker: how often it and those that it repeats did. Such a loss is no failure of the run,
#: and does not count against the number of retries.
LOSSES = "crypto_pipeline/lost_workers"

_PID = re.compile(r"pid: (\d+)")
#: A worker process starts before its first event. This tolerance, in seconds, covers the difference of both clocks.
_CLOCK_SLACK = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """A process of one deployment."""

    deployment: str
    process: Identity

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the output of ``str``. Raises ValueError for other text."""
        deployment, _, process = text.partition(" ")
        return cls(deployment, Identity.parse(process))

    def __str__(self) -> str:
        return f"{self.deployment} {self.process}"


@runtime_checkable
class HandsOver(Protocol):
    """A launcher that hands runs to workers, and knows which of these live."""

    def lost_with_worker(self, run: DagsterRun) -> str | None:
        """Why the worker of a run is gone; None where it lives, or where no worker began the run."""

    def report_lost(self, run: DagsterRun, why: str) -> None:
        """Mark a run failed whose worker is gone."""

    def await_loss(self, seconds: float) -> None:
        """Wait until another worker is gone, at most ``seconds``."""


def launched_by(deployment: str) -> str:
    """Value of the tag ``LAUNCHED_BY`` for runs that ``deployment`` starts in this boot."""
    return f"{deployment} {processes.boot_id()}"


class LostRuns:
    """Finds runs whose worker process is gone and reports them as failed, so that they are retried and free their slot.

    Checks only runs of this deployment: process ids of another deployment on the same database mean nothing here. One
    data directory runs in one place at a time, so a worker of an earlier boot is gone. A run counts as lost when two
    checks in a row find no worker: the code server notices the end of its own workers within a second, and its report
    has more detail. A run that was handed over is lost at once where its worker is known to be gone.
    """

    def __init__(self, instance: DagsterInstance, deployment: str) -> None:
        self._instance, self._deployment = instance, deployment
        self._suspects: set[str] = set()
        #: Worker of each run when it was first seen running.
        self._seen: dict[str, Identity] = {}

    def look(self) -> list[str]:
        """Check all started runs once; return the ids of runs reported as failed."""
        from dagster import DagsterRunStatus, RunsFilter

        statuses = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
        runs = list(self._instance.get_runs(RunsFilter(statuses=statuses), limit=100))
        # One that was handed to a worker may be lost before it begins.
        coming = self._instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTING]), limit=100)
        runs += [run for run in coming if TASK in run.tags]
        gone = {run.run_id: why for run in runs if (why := self._trouble(run)) is not None}
        # One that begins may still have the tags of the run that it repeats.
        begun = [run for run in runs if run.status is not DagsterRunStatus.STARTING]
        sure = {run.run_id for run in begun if self._lost_with_worker(run)}
        lost = [run_id for run_id in gone if run_id in self._suspects or run_id in sure]
        for run_id in lost:
            # The run may have ended by itself meanwhile.
            now = self._instance.get_run_by_id(run_id)
            if now is not None and not now.is_finished:
                self._report(now, gone[run_id])
        self._suspects = gone.keys() - set(lost)
        here = {run.run_id for run in runs}
        self._seen = {run_id: worker for run_id, worker in self._seen.items() if run_id in here}
        return lost

    @property
    def suspects(self) -> bool:
        """Whether the last check found no worker of some run: the next one decides."""
        return bool(self._suspects)

    def _trouble(self, run: DagsterRun) -> str | None:
        """Why nobody can be working on the run; None where somebody may."""
        if (why := self._lost_with_worker(run)) is not None:
            return why
        return None if self._worker_lives(run) else "The worker process of this run is gone; the run is marked failed."

    def _lost_with_worker(self, run: DagsterRun) -> str | None:
        launcher = self._instance.run_launcher
        return launcher.lost_with_worker(run) if isinstance(launcher, HandsOver) else None

    def _report(self, run: DagsterRun, why: str) -> None:
        launcher = self._instance.run_launcher
        if isinstance(launcher, HandsOver) and self._lost_with_worker(run):
            launcher.report_lost(run, why)
        else:
            self._instance.report_run_failed(run, why)

    def _worker_lives(self, run: DagsterRun) -> bool:
        if TASK in run.tags:
            return self._handed_over_lives(run)
        if (text := run.tags.get(WORKER)) is not None:
            worker = Worker.parse(text)
            return worker.deployment != self._deployment or worker.process.lives()
        deployment, _, boot = run.tags.get(LAUNCHED_BY, "").partition(" ")
        if deployment != self._deployment:
            return True  # another deployment checks it
        if boot != processes.boot_id():
            return False
        return self._process_lives(run)

    def _handed_over_lives(self, run: DagsterRun) -> bool:
        """Whether a run that was handed to a worker may live, by the launcher's word."""
        from dagster._core.launcher import WorkerStatus

        launcher = self._instance.run_launcher
        if not launcher.supports_check_run_worker_health:
            return True  # it was handed over before the launcher was another
        return launcher.check_run_worker_health(run).status is not WorkerStatus.FAILED

    def _process_lives(self, run: DagsterRun) -> bool:
        """Whether the process id in the run's log still belongs to the process that wrote it."""
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
        return True  # its log names no process id


def watch(instance: DagsterInstance, deployment: str, interval: float = 5.0, again: float = 2.0) -> None:
    """Check every ``interval`` seconds, without end, and ``again`` seconds after one that found a suspect.

    Where runs are handed to workers, check as soon as one of these is gone too. Errors (a restarting database) are
    logged; the next check retries.
    """
    lost, launcher = LostRuns(instance, deployment), instance.run_launcher
    wait = launcher.await_loss if isinstance(launcher, HandsOver) else time.sleep
    interval = again if isinstance(launcher, HandsOver) else interval  # its message may be lost too
    while True:
        try:
            for run_id in lost.look():
                _log.warning("run %s lost its worker: reported as failed", run_id)
        except Exception as error:
            _log.warning("cannot look for lost runs now: %s", error)
        wait(again if lost.suspects else interval)
