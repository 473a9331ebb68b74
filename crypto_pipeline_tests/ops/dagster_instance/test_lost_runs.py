"""Runs whose worker is gone: told by boot, process id and start, and only for runs of this deployment."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from crypto_pipeline.ops.dagster_instance.lost_runs import LAUNCHED_BY, WORKER, LostRuns, Worker
from crypto_pipeline.ops.host.processes import Identity, boot_id
from crypto_pipeline_tests.ops.dagster_instance.conftest import some_job


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "100"]) as process:
        time.sleep(0.05)
        yield process
        process.kill()


def started(instance: dg.DagsterInstance, pid: int | None, tags: dict[str, str]) -> str:
    run = instance.create_run_for_job(some_job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    if pid is not None:
        instance.report_engine_event(f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid))
    return run.run_id


def lost(looks: LostRuns) -> set[str]:
    return {*looks.look(), *looks.look()}


def by(deployment: str, boot: str | None = None) -> dict[str, str]:
    return {LAUNCHED_BY: f"{deployment} {boot or boot_id()}"}


def test_a_worker_that_died_is_noticed_and_one_that_lives_is_not(
    instance: dg.DagsterInstance, worker: subprocess.Popen[bytes]
) -> None:
    looks = LostRuns(instance, "ours")
    run = started(instance, worker.pid, by("ours"))
    assert lost(looks) == set()
    worker.kill()
    worker.wait()
    assert lost(looks) == {run}
    found = instance.get_run_by_id(run)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.FAILURE


def test_another_deployment_on_the_same_database_is_not_judged(instance: dg.DagsterInstance) -> None:
    nobody = 2**22 + 1  # above every process id
    started(instance, nobody, by("theirs"))
    started(instance, nobody, {})  # started by a code server that is not ours
    started(instance, None, {WORKER: str(Worker("theirs", Identity("elsewhere", "boot", nobody, 1)))})
    assert lost(LostRuns(instance, "ours")) == set()


def test_workers_of_an_earlier_boot_are_gone_whatever_has_their_number_now(
    instance: dg.DagsterInstance, worker: subprocess.Popen[bytes]
) -> None:
    run = started(instance, worker.pid, by("ours", "an earlier boot"))
    assert lost(LostRuns(instance, "ours")) == {run}


def test_a_number_that_is_used_again_is_not_the_worker(
    instance: dg.DagsterInstance, worker: subprocess.Popen[bytes]
) -> None:
    process = Identity.of(worker.pid)
    assert process is not None
    lives = started(instance, None, {WORKER: str(Worker("ours", process))})
    died = started(instance, None, {WORKER: str(Worker("ours", replace(process, started=process.started - 1)))})
    assert lost(LostRuns(instance, "ours")) == {died}
    assert lives != died
