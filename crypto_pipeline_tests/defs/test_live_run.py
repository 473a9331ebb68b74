"""The run of Dagster that shows an ingest program: a real instance, a real execution in a thread."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import instance_for_test

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.live import ingest_run, live_ingest
from crypto_pipeline.ingest import ingest_shard
from crypto_pipeline.ops.dagster_instance.lost_runs import WORKER, Worker
from crypto_pipeline.ops.host.processes import DEPLOYMENT
from crypto_pipeline.ops.supervision import ingest_process as place
from crypto_pipeline.ops.supervision.ingest_process import IngestProcess, LineQueueHandler, offer
from crypto_pipeline.settings import load_settings

JOB = defs().resolve_job_def("live_ingest")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    # as the deployment's dagster.yaml has it
    logs = {"managed_python_loggers": ["crypto_pipeline"], "python_log_level": "INFO"}
    with instance_for_test(overrides={"python_logs": logs}) as made:
        yield made


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[IngestProcess]:
    monkeypatch.setenv(DEPLOYMENT, "ours")
    monkeypatch.setattr(ingest_run, "_LOOK_EVERY", 0.05)
    made = IngestProcess(ingest_shard(load_settings(), 0, 1))
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


def test_elsewhere_the_thread_that_ingests_writes_nothing_into_the_event_log(
    instance: dg.DagsterInstance, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a program of its own the run ingests; its warnings come from another thread than its event loop."""
    given = {"DATA_DIR": tmp_path, "DATABASE_URL": postgres_url, "VENUE": "replay", "REPLAY_PORT": 1}
    for name, value in given.items():
        monkeypatch.setenv(f"CRYPTO_PIPELINE_{name}", str(value))
    monkeypatch.setattr(live_ingest, "_OWN_RUN_EVERY", 0.1)
    writers: dict[str, str] = {}
    store = instance.event_log_storage.store_event

    def store_event(event: dg.EventLogEntry) -> None:
        writers[event.user_message] = threading.current_thread().name
        store(event)

    monkeypatch.setattr(instance.event_log_storage, "store_event", store_event)
    warning = "no instrument of shard 0 of 1 is listed on replay yet"

    def stop_when_warned() -> None:
        until(lambda: any(warning in message for message in list(writers)), 60)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop_when_warned)
    stopper.start()
    assert JOB.execute_in_process(instance=instance).success
    stopper.join()
    (written_by,) = [thread for message, thread in writers.items() if warning in message]
    assert written_by != threading.main_thread().name
