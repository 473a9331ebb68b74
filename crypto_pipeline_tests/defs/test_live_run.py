"""The run of Dagster that shows an ingest program: a real instance, a real execution in a thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import dagster as dg
import pytest
from dagster._core.test_utils import instance_for_test

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.live import ingest_run
from crypto_pipeline.ops.dagster_instance.lost_runs import WORKER, Worker
from crypto_pipeline.ops.supervision import ingest_process as place
from crypto_pipeline.ops.supervision.ingest_process import IngestProcess, LineQueueHandler, offer
from crypto_pipeline.ops.supervision.processes import DEPLOYMENT

JOB = defs().resolve_job_def("live_ingest")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with instance_for_test() as made:
        yield made


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[IngestProcess]:
    monkeypatch.setenv(DEPLOYMENT, "ours")
    monkeypatch.setattr(ingest_run, "_LOOK_EVERY", 0.05)
    made = IngestProcess(0, 1)
    offer(made)
    yield made
    made.ended.set()
    place._here.clear()


def until(true: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def shown(instance: dg.DagsterInstance, here: IngestProcess) -> Iterator[tuple[dg.DagsterRun, list[dg.DagsterRun]]]:
    """The run while it is followed, and afterwards how it ended."""
    ended: list[dg.DagsterRun] = []
    thread = threading.Thread(target=lambda: ended.append(ingest_run.show(instance, JOB, here)))
    thread.start()
    until(lambda: here.sink is not None)
    (run,) = instance.get_runs()
    yield run, ended
    thread.join(30)
    assert ended


def test_it_is_a_run_with_steps_and_logs_and_ends_well_with_the_process(
    instance: dg.DagsterInstance, here: IngestProcess
) -> None:
    logger = logging.getLogger("crypto_pipeline.ingest.session")
    keeper = LineQueueHandler(here.lines)
    logging.getLogger("crypto_pipeline").addHandler(keeper)
    try:
        with shown(instance, here) as (run, ended):
            assert run.status is dg.DagsterRunStatus.STARTED
            assert run.tags["shard"] == "0"
            assert Worker.parse(run.tags[WORKER]) == Worker("ours", here.worker)
            logger.warning("link %d lost", 7)
            until(lambda: "link 7 lost" in said(instance, run))
            here.ended.set()
        assert ended[0].status is dg.DagsterRunStatus.SUCCESS
    finally:
        logging.getLogger("crypto_pipeline").removeHandler(keeper)


def said(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    return "\n".join(entry.user_message or "" for entry in instance.all_logs(run.run_id))


def test_a_run_that_is_marked_failed_while_ingest_lives_ends_and_stays_failed(
    instance: dg.DagsterInstance, here: IngestProcess
) -> None:
    with shown(instance, here) as (run, ended):
        instance.report_run_failed(run, "by somebody else")
    assert ended[0].status is dg.DagsterRunStatus.FAILURE
    assert not here.ended.is_set(), "ingest goes on"


def test_terminating_the_run_ends_the_process_and_cancels_the_run(
    instance: dg.DagsterInstance, here: IngestProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = threading.Event()
    monkeypatch.setattr(here, "stop", stopped.set)
    with shown(instance, here) as (run, ended):
        instance.report_run_canceling(run)
    assert stopped.is_set()
    assert ended[0].status is dg.DagsterRunStatus.CANCELED


def test_the_next_process_ends_the_run_of_the_one_before_and_no_other(
    instance: dg.DagsterInstance, here: IngestProcess
) -> None:
    before = replace(here.worker, started=1)

    def run_of(deployment: str, shard: str, status: dg.DagsterRunStatus) -> str:
        tags = {"shard": shard, WORKER: str(Worker(deployment, before))}
        return instance.create_run_for_job(JOB, tags=tags, status=status).run_id

    mine = run_of("ours", "0", dg.DagsterRunStatus.STARTED)
    canceling = run_of("ours", "0", dg.DagsterRunStatus.CANCELING)
    others = [
        run_of("ours", "1", dg.DagsterRunStatus.STARTED),
        run_of("other", "0", dg.DagsterRunStatus.STARTED),
        instance.create_run_for_job(JOB, tags={"shard": "0"}, status=dg.DagsterRunStatus.STARTED).run_id,
    ]
    ingest_run.end_earlier(instance, here)
    assert status_of(instance, mine) is dg.DagsterRunStatus.FAILURE
    assert status_of(instance, canceling) is dg.DagsterRunStatus.CANCELED
    assert {status_of(instance, other) for other in others} == {dg.DagsterRunStatus.STARTED}


def status_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status
