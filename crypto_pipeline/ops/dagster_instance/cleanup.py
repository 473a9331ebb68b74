"""Bounding Dagster's own storage: Dagster deletes old ticks (dagster.yaml), but never runs, events or checks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from crypto_pipeline.store.operations import dagster_storage

if TYPE_CHECKING:
    from dagster import DagsterInstance

#: At most this many runs are deleted in one pass; the next night deletes the rest.
MOST = 5_000
#: Successful runs kept of each job. A job that runs every five minutes writes about 300 MB of events a day.
PER_JOB = 200


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Counts of one pass.

    Attributes:
        runs: Deleted runs.
        kept: Old runs that hold a partition's newest event; without it Dagster would show the partition as not
            materialized.
        checks: Deleted evaluations of checks.
        runless: Deleted events that no run reported.
    """

    runs: int = 0
    kept: int = 0
    checks: int = 0
    runless: int = 0


def clean(instance: DagsterInstance, url: str, keep: timedelta, per_job: int = PER_JOB, most: int = MOST) -> Cleaned:
    """Delete finished runs older than ``keep`` and successful ones beyond the newest ``per_job`` of each job.

    Their events are deleted with them, also check evaluations of deleted runs; and what is older than ``keep`` of
    evaluations of automation conditions and of events without a run. ``url`` is the URL of Dagster's database. A killed
    pass can be repeated.
    """
    from dagster import DagsterRunStatus, RunsFilter

    now = datetime.now(UTC)
    finished = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    needed = dagster_storage.needed_runs(url)
    chosen = RunsFilter(statuses=finished, created_before=now - keep)
    records = instance.get_run_records(chosen, limit=most + len(needed), ascending=True)
    old = dict.fromkeys([record.dagster_run.run_id for record in records] + dagster_storage.surplus_runs(url, per_job))
    gone = [run_id for run_id in old if run_id not in needed][:most]
    for run_id in gone:
        instance.delete_run(run_id)
    checks = dagster_storage.prune_checks(url, now)
    runless = dagster_storage.prune_runless(url, now - keep)
    schedules = instance.schedule_storage
    if schedules is not None and schedules.supports_auto_materialize_asset_evaluations:
        schedules.purge_asset_evaluations((now - keep).timestamp())
    return Cleaned(len(gone), len(old.keys() & needed), checks, runless)
