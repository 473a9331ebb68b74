"""The watch over Dagster's queue: a real instance with runs that wait, and the check, alert and status that follow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteRepositoryOrigin

from crypto_pipeline.ops.dagster_instance import run_queue
from crypto_pipeline.ops.dagster_instance.lost_runs import WORKER
from crypto_pipeline.ops.status import Stored
from crypto_pipeline.store import Store
from crypto_pipeline_tests.ops.dagster_instance.conftest import some_job


def queued(instance: dg.DagsterInstance) -> dg.DagsterRun:
    server = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="crypto_pipeline")
    origin = RemoteRepositoryOrigin(server, "__repository__").get_job_origin("some_job")
    return instance.create_run_for_job(some_job, status=dg.DagsterRunStatus.QUEUED, remote_job_origin=origin)


def start(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    event = dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
    instance.report_dagster_event(event, run_id=run.run_id)


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as opened:
        yield opened


def test_a_queue_in_which_nothing_is_started_is_seen(instance: dg.DagsterInstance, store: Store) -> None:
    now = datetime.now(UTC)
    later = now + run_queue.LONGEST_WAIT + timedelta(minutes=1)
    assert run_queue.look(instance, now).moves, "nothing waits"
    for _ in range(3):
        run = queued(instance)
    assert run_queue.look(instance, now).moves, "they have not waited for long"
    stuck = run_queue.look(instance, later)
    assert not stuck.moves
    assert "3 runs wait, the oldest for 11 min" in stuck.summary
    run_queue.record(store, stuck)
    assert "run_queue" in store.checks.open_alerts()["source"].to_list()
    failing = [row["check"] for row in Stored.read(store).failing]
    assert failing == ["run_queue"], "and so status says that it is not complete"
    start(instance, run)
    assert run_queue.look(instance, now + timedelta(minutes=5)).moves
    stuck = run_queue.look(instance, later)
    assert "runs that hold slots: 1 of some_job" in stuck.summary, "it was started long ago"
    run_queue.record(store, run_queue.look(instance, now + timedelta(minutes=5)))
    assert store.checks.open_alerts().is_empty()


def test_what_shows_ingest_never_left_the_queue(instance: dg.DagsterInstance) -> None:
    queued(instance)
    shown = instance.create_run_for_job(some_job, tags={WORKER: "d host:boot:1:1"})
    start(instance, shown)
    now = datetime.now(UTC) + timedelta(minutes=1)
    assert run_queue.look(instance, now).moves
    assert not run_queue.look(instance, now + run_queue.LONGEST_WAIT - timedelta(seconds=30)).moves
