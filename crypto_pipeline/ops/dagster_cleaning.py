"""Dagster's own storage, kept bounded: it forgets ticks by itself (dagster.yaml), but never runs, events or checks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from crypto_pipeline.store import dagster_storage

if TYPE_CHECKING:
    from dagster import DagsterInstance

#: Runs deleted in one pass at most; what is left goes the next night.
MOST = 5_000


@dataclass(frozen=True, slots=True)
class Cleaned:
    """One pass. ``kept`` old runs hold the newest state of a partition, without which it would look unmaterialized."""

    runs: int = 0
    kept: int = 0
    checks: int = 0


def clean(instance: DagsterInstance, url: str, keep: timedelta, most: int = MOST) -> Cleaned:
    """Delete finished runs older than ``keep`` with their events, and old evaluations of checks and conditions.

    ``url`` is of Dagster's database. May be killed at any moment and repeated.
    """
    from dagster import DagsterRunStatus, RunsFilter

    before = datetime.now(UTC) - keep
    finished = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    needed = dagster_storage.needed_runs(url)
    records = instance.get_run_records(
        RunsFilter(statuses=finished, created_before=before), limit=most + len(needed), ascending=True
    )
    old = [record.dagster_run.run_id for record in records]
    gone = [run_id for run_id in old if run_id not in needed][:most]
    for run_id in gone:
        instance.delete_run(run_id)
    checks = dagster_storage.prune_checks(url, before)
    schedules = instance.schedule_storage
    if schedules is not None and schedules.supports_auto_materialize_asset_evaluations:
        schedules.purge_asset_evaluations(before.timestamp())
    return Cleaned(len(gone), len(old) - len(gone), checks)
