"""Watch of Dagster's run queue: an alert opens while runs wait and none is started."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from crypto_pipeline.ops.dagster_instance.lost_runs import WORKER
from crypto_pipeline.store import Store

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRunStatus

#: Name of the check in ``ops.check_results``, and of its alert.
CHECK = "run_queue"
#: A run may wait this long while no other is started.
LONGEST_WAIT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class QueueState:
    """The queue at one moment.

    Attributes:
        moves: False: its oldest run waits for long and none was started meanwhile.
        waiting: Runs in it.
        summary: For people, one line.
    """

    moves: bool
    waiting: int
    summary: str


def look(instance: DagsterInstance, now: datetime) -> QueueState:
    """Check the queue. It is stuck when its oldest run has waited longer than ``LONGEST_WAIT`` and no run was started
    in that time."""
    from dagster import DagsterRunStatus, RunsFilter

    queued = RunsFilter(statuses=[DagsterRunStatus.QUEUED])
    oldest = instance.get_run_records(queued, limit=1, ascending=True)
    if not oldest:
        return QueueState(True, 0, "no run waits")
    waiting, age = instance.get_runs_count(queued), now - oldest[0].create_timestamp
    minutes = f"{age / timedelta(minutes=1):.0f} min"
    if age < LONGEST_WAIT or _started_since(instance, now - LONGEST_WAIT):
        return QueueState(True, waiting, f"{waiting} runs wait, the oldest for {minutes}; the queue moves")
    holding = Counter(run.job_name for run in instance.get_runs(RunsFilter(statuses=_holding())))
    slots = ", ".join(f"{count} of {job}" for job, count in holding.most_common()) or "none"
    return QueueState(
        False,
        waiting,
        f"the run queue does not move: {waiting} runs wait, the oldest for {minutes}, and none was started in the last "
        f"{LONGEST_WAIT / timedelta(minutes=1):.0f} min; runs that hold slots: {slots}. End those that should not run "
        "(page Runs), or restart with `crypto-pipeline down` and `up`",
    )


def record(store: Store, state: QueueState) -> None:
    """Store the state as a check result: a stuck queue opens an alert, which closes when runs start again."""
    store.checks.record_result(
        CHECK, None, passed=state.moves, severity="error", summary=state.summary, detail={"waiting": state.waiting}
    )


def _started_since(instance: DagsterInstance, moment: datetime) -> bool:
    """Whether a run left the queue after ``moment``; runs that show ingest are never queued."""
    from dagster import DagsterRunStatus, RunsFilter

    over = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    changed = RunsFilter(statuses=[*_holding(), *over], updated_after=moment)
    return any(
        WORKER not in one.dagster_run.tags
        and (
            one.dagster_run.status is DagsterRunStatus.STARTING
            or (one.start_time is not None and one.start_time >= moment.timestamp())
        )
        for one in instance.get_run_records(changed)
    )


def _holding() -> list[DagsterRunStatus]:
    from dagster import DagsterRunStatus

    return [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
