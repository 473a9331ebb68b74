"""Our dagster.yaml and Dagster's own queue: what is live starts at once, whatever waits before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import instance_for_test
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.base.runs import HIGH, LOW, MEDIUM, tags
from crypto_pipeline_tests.builders.places import PROJECT

CONFIG = PROJECT / "dagster.yaml"
QUEUED = dg.DagsterRunStatus.QUEUED


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance with the queue of our dagster.yaml; its own storage is a folder."""
    ours: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    wanted = {name: ours[name] for name in ("run_coordinator", "concurrency")}
    with instance_for_test(overrides=wanted) as made:
        yield made


def queue(instance: dg.DagsterInstance, job: str, run_tags: dict[str, str]) -> str:
    definition = defs().resolve_job_def(job)
    server = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="crypto_pipeline")
    origin = RemoteRepositoryOrigin(server, "__repository__").get_job_origin(job)
    run = instance.create_run_for_job(
        definition, tags={**definition.tags, **run_tags}, status=QUEUED, remote_job_origin=origin
    )
    return run.run_id


def chosen(instance: dg.DagsterInstance) -> set[str]:
    """Runs that the queue would start now."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    runs = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), fixed_iteration_time=None)
    return {run.run_id for run in runs}


def test_gap_fills_and_ingest_start_whatever_backfills_wait_or_run(instance: dg.DagsterInstance) -> None:
    for _ in range(4):
        queue(instance, "backfill_bars", {"dagster/backfill": "abcdef"})
        queue(instance, "backfill_bars", tags(LOW, "historical_gap_monitor"))
        queue(instance, "weekly_bars", tags(HIGH, "recent_processor"))
    ingest = queue(instance, "live_ingest", {"shard": "0"})
    relief = queue(instance, "live_ingest", {"shard": "0"})
    gaps = queue(instance, "live_gap_fill", {})
    first = chosen(instance)
    assert {ingest, relief, gaps} <= first
    assert len(first) == 3 + 2, "two processors beside them, and no more"
    # those that were started go on for hours; the next gap finds its slot all the same
    for run in first - {gaps}:
        instance.run_storage.handle_run_event(run, _started(run))
    instance.run_storage.delete_run(gaps)
    again = queue(instance, "live_gap_fill", {})
    assert chosen(instance) == {again}


def test_weeks_are_not_kept_waiting_by_features(instance: dg.DagsterInstance) -> None:
    features = [queue(instance, "build_features", tags(MEDIUM, "stale_features")) for _ in range(3)]
    weeks = queue(instance, "weekly_bars", tags(MEDIUM, "weeks_follow_days"))
    first = chosen(instance)
    assert weeks in first
    assert len(first & set(features)) == 1


def _started(run_id: str) -> dg.DagsterEvent:
    return dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_START.value, job_name="any")
