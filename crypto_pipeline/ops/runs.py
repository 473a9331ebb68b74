"""Runs whose worker is gone: Dagster itself would show them as started for ever."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING

from crypto_pipeline.ops import processes

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

_PID = re.compile(r"pid: (\d+)")
#: A worker's process is older than its own first event; clocks of the two sources differ a little.
_CLOCK_SLACK = 5.0
_log = logging.getLogger(__name__)


class LostRuns:
    """Finds runs whose worker process is gone and reports them as failed, so that they are retried and free their slot.

    Only for runs on this machine, under our own supervision. A run is lost when two looks in a row say so: the code
    server notices the death of a worker of its own within a second and reports it better.
    """

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance
        self._suspects: set[str] = set()

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
        return [run.run_id for run in lost]

    def _worker_lives(self, run: DagsterRun) -> bool:
        from dagster import DagsterEventType

        events = self._instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
        for event in reversed(events):
            found = _PID.search(event.message)
            if found and "Started process" in event.message:
                started = processes.started_at(int(found[1]))
                same = started is not None and started <= event.timestamp + _CLOCK_SLACK
                return same and processes.is_alive(int(found[1]))
        return True  # not one of the workers we know how to judge


def watch(instance: DagsterInstance, interval: float = 5.0) -> None:
    """Look for ever. Troubles (a database that restarts) are logged and the next look tries again."""
    lost = LostRuns(instance)
    while True:
        try:
            for run_id in lost.look():
                _log.warning("run %s lost its worker: reported as failed", run_id)
        except Exception as error:
            _log.warning("cannot look for lost runs now: %s", error)
        time.sleep(interval)
