"""Runs are handed over a real redis to workers; one whose worker is gone, or whose message is lost, is told."""

from __future__ import annotations

import logging
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import psycopg
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.events import DagsterEventType
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.storage.tags import MAX_RETRIES_TAG, RETRY_STRATEGY_TAG

from crypto_pipeline.ops.dagster_instance.lost_runs import LOSSES, TASK, WORKER, LostRuns, Worker
from crypto_pipeline.ops.dagster_instance.workers import heartbeat, liveness
from crypto_pipeline.ops.dagster_instance.workers.configuration import INGEST, RUNS, row_name
from crypto_pipeline.ops.dagster_instance.workers.start import worker_command
from crypto_pipeline.ops.doctor import network
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host import extras
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.host.processes import MARK, Identity, this_process
from crypto_pipeline.ops.supervision.dagster_home import shipped, write_dagster_home
from crypto_pipeline.ops.supervision.programs import programs
from crypto_pipeline.settings import SettingsError, load_settings
from crypto_pipeline.store import LeaseLost, Store
from crypto_pipeline.store.coordination.heartbeats import (
    end_heartbeat,
    forget_heartbeat,
    read_heartbeats,
    write_heartbeat,
)
from crypto_pipeline_tests.builders.deployment import await_
from crypto_pipeline_tests.ops.dagster_instance.conftest import some_job

if TYPE_CHECKING:
    from crypto_pipeline.ops.dagster_instance.workers.launcher import WorkerRunLauncher


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    """The URL of a redis that keeps nothing."""
    pytest.importorskip("dagster_celery")
    if (program := shutil.which("redis-server")) is None:
        pytest.skip("redis-server is not installed")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:

        def answers() -> bool:
            with socket.socket() as asking:
                return asking.connect_ex(("127.0.0.1", port)) == 0

        await_(answers, 30)
        yield f"redis://127.0.0.1:{port}/0"
        server.terminate()


@pytest.fixture
def launcher(
    broker: str,
    instance: dg.DagsterInstance,
    postgres_url: str,
    use_database: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> WorkerRunLauncher:
    from crypto_pipeline.ops.dagster_instance.workers import launcher as module

    use_database(postgres_url)
    monkeypatch.setattr(liveness, "_KEPT", -1.0)
    monkeypatch.setattr(module, "_UNDER_WAY", 0.0)
    monkeypatch.setattr(module, "_LEFT_TO_WATCH", 0.0)
    made = module.WorkerRunLauncher(RUNS, broker, broker)
    made.register_instance(instance)
    instance._run_launcher = made  # disposed of with the instance
    with made.celery.connection_for_write() as connection:
        connection.default_channel.client.flushall()
    return made


def launched(launcher: WorkerRunLauncher, tags: dict[str, str]) -> dg.DagsterRun:
    """A run as the queue of Dagster hands it to the launcher."""
    instance = launcher._instance
    run = instance.create_run_for_job(
        some_job, tags=tags, status=dg.DagsterRunStatus.STARTING, job_code_origin=_origin()
    )
    launcher.launch_run(LaunchRunContext(run, workspace=None))
    return again(instance, run)


def _origin() -> JobPythonOrigin:
    where = ModuleCodePointer("crypto_pipeline.definitions", "defs", None)
    return JobPythonOrigin("some_job", RepositoryPythonOrigin("python", where))


def again(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def lost(instance: dg.DagsterInstance, looks: int = 3) -> list[str]:
    runs = LostRuns(instance, "ours")
    return [run for _ in range(looks) for run in runs.look()]


def begun(instance: dg.DagsterInstance, run: dg.DagsterRun, name: str) -> None:
    """Let a worker of this name, which is this process, work on the run."""
    instance.add_run_tags(run.run_id, {WORKER: str(Worker(row_name(name), this_process()))})
    instance.report_dagster_event(
        dg.DagsterEvent(DagsterEventType.RUN_START.value, run.job_name), run.run_id, logging.INFO
    )


def test_a_run_waits_in_the_queue_of_its_kind_and_is_lost_with_its_message(launcher: WorkerRunLauncher) -> None:
    instance = launcher._instance
    ingest, other = launched(launcher, {"ingest": "live"}), launched(launcher, {WORKER: "run-worker:a h:b:1:1"})
    assert other.tags[WORKER] == "", "a run that is asked for again has no worker yet"
    with launcher.celery.connection_for_read() as connection:
        client = connection.default_channel.client
        assert [ingest.tags[TASK] in str(client.lrange(queue, 0, -1)) for queue in (INGEST, RUNS)] == [True, False]
        assert other.tags[TASK] in str(client.lrange(RUNS, 0, -1))
        assert b"password" not in b"".join(client.lrange(RUNS, 0, -1))
        assert lost(instance) == [], "no worker is there yet: they wait"
        client.delete(RUNS)  # redis was started again, and kept nothing
    assert lost(instance) == [other.run_id]
    assert again(instance, other).status is dg.DagsterRunStatus.FAILURE
    assert not launcher.supports_resume_run


def test_a_run_lives_as_long_as_its_worker_does(
    launcher: WorkerRunLauncher, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards I7: what a killed worker left is asked for again, and what lives is left alone."""
    instance, process = launcher._instance, this_process()
    run = launched(launcher, {})
    instance.add_run_tags(run.run_id, {WORKER: str(Worker(row_name("one"), process))})
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name, holder = row_name("one"), str(process)

        def verdict() -> str:
            found = launcher.check_run_worker_health(again(instance, run))
            assert (found.status is WorkerStatus.FAILED) == (found.msg is not None)
            return found.msg or "lives"

        write_heartbeat(connection, name, holder, {"session": connection.info.backend_pid})
        assert verdict() == "lives"
        connection.execute("UPDATE ops.heartbeats SET beat = beat - interval '1 hour'")
        assert verdict() == "lives", "the server may have been away: this session is young"
        monkeypatch.setattr(liveness, "CLOSED", 0.0)
        assert verdict() == "lives", "its session is open"
        write_heartbeat(connection, name, holder, {"session": 0})
        assert "has said nothing for" in verdict()
        write_heartbeat(connection, name, holder, {"session": connection.info.backend_pid})
        monkeypatch.setattr(liveness, "SILENT", 0.0)
        assert "has said nothing for" in verdict()
        monkeypatch.setattr(liveness, "SILENT", 60.0)
        end_heartbeat(connection, name, "another worker")
        assert verdict() == "lives"
        end_heartbeat(connection, name, holder)
        assert "was killed" in verdict()
        write_heartbeat(connection, name, str(Identity(process.host, process.boot, process.pid, 1)))
        assert "started again" in verdict()
        forget_heartbeat(connection, name)
        assert "was stopped" in verdict()


def test_what_a_killed_worker_left_is_asked_for_again_at_once(launcher: WorkerRunLauncher, postgres_url: str) -> None:
    """Guards I7: the successor finds no lease taken, and a loss does not count against the number of retries."""
    instance = launcher._instance
    ingest = launched(launcher, {"ingest": "live", MAX_RETRIES_TAG: "0"})
    other, ended, coming = launched(launcher, {LOSSES: "20"}), launched(launcher, {}), launched(launcher, {})
    with Store(postgres_url) as store:
        store.heartbeats.beat(row_name("one"), str(this_process()))
        for run in (ingest, other, ended):
            begun(instance, run, "one")
        instance.report_run_canceling(ended)
        lease = store.leases.acquire("ingest-0", ingest.run_id, 60.0)
        assert lease is not None
        launcher.await_loss(0.0)
        assert lost(instance) == []
        store.heartbeats.forget(row_name("one"))
        launcher.await_loss(30.0)  # it returns at once
        instance.add_run_tags(coming.run_id, {WORKER: str(Worker(row_name("one"), this_process()))})
        assert set(lost(instance, looks=1)) == {ingest.run_id, other.run_id, ended.run_id}
        assert lost(instance, looks=2) == [coming.run_id], "its tags may be those of the run that it repeats"
        assert again(instance, ended).status is dg.DagsterRunStatus.CANCELED
        found = again(instance, ingest)
        assert (found.status, found.tags[MAX_RETRIES_TAG]) == (dg.DagsterRunStatus.FAILURE, "1")
        assert found.tags[RETRY_STRATEGY_TAG] == "ALL_STEPS", "every step of it, none, was done"
        assert MAX_RETRIES_TAG not in again(instance, other).tags, "it may be what ends its workers"
        assert store.leases.acquire("ingest-0", "another run", 60.0) is not None
        with pytest.raises(LeaseLost):
            store.leases.renew(lease, 60.0)


def test_a_run_that_a_person_ends_is_canceled(launcher: WorkerRunLauncher) -> None:
    run = launched(launcher, {})
    assert launcher.terminate(run.run_id)
    assert again(launcher._instance, run).status is dg.DagsterRunStatus.CANCELING, "and not failed and asked for again"


def test_nobody_is_lost_while_redis_is_away(launcher: WorkerRunLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    from kombu import Connection

    run = launched(launcher, {})
    monkeypatch.setattr(launcher.celery, "connection_for_read", lambda: Connection("redis://127.0.0.1:1/0"))
    for _ in range(3):  # the first look may take seconds, the next ones ask nothing
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING


@pytest.mark.parametrize("killed", [False, True])
def test_the_heartbeat_of_a_worker_says_how_it_ended(
    postgres_url: str, use_database: Callable[[str], None], killed: bool
) -> None:
    use_database(postgres_url)
    beat = heartbeat.WorkerHeartbeat("one", this_process(), {"runs": 4})
    writing = threading.Thread(target=beat.run)
    writing.start()
    await_(lambda: bool(read_heartbeats(postgres_url, "run-worker:%")), 30)
    (row,) = read_heartbeats(postgres_url, "run-worker:%")
    assert (row.name, row.holder, row.detail["runs"]) == ("run-worker:one", str(this_process()), 4)
    if killed:
        beat.killed.set()
    beat.stop.set()
    writing.join(30)
    assert [row.detail["ended"] for row in read_heartbeats(postgres_url, "run-worker:%")] == [True] * killed


def test_a_worker_has_the_settings_of_the_deployment_and_no_secret_in_its_command(
    postgres_url: str, tmp_path: Path
) -> None:
    pytest.importorskip("dagster_celery")
    given = {"data_dir": tmp_path, "database_url": postgres_url, "venue": "kraken"}
    with pytest.raises(OpsError, match="CELERY_BROKER_URL"):
        worker_command(load_settings(**given), "one", 4, [])
    with pytest.raises(SettingsError, match="redis://"):
        load_settings(**given, celery_broker_url="amqp://host")
    settings = load_settings(**given, celery_broker_url="redis://:secret@host:6379/0")
    for name, queues, said in (("a b", [], "no name"), ("one", ["other"], "no queue")):
        with pytest.raises(OpsError, match=said):
            worker_command(settings, name, 4, queues)
    command, variables = worker_command(settings, "one", 4, [])
    assert command[3:] == ["one", "4", "runs,ingest"]
    assert not any("secret" in word for word in command)
    assert MARK not in variables
    assert variables["CRYPTO_PIPELINE_VENUE"] == "kraken"
    assert "WorkerRunLauncher" in (tmp_path / "dagster" / "dagster.yaml").read_text()


def test_the_setting_without_its_extra_is_refused_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(data_dir=tmp_path, celery_broker_url="redis://:secret@127.0.0.1:1/0")
    found = network.run_workers(settings)
    assert (found.status, "secret" in str(found)) == ("bad", False)
    assert "127.0.0.1:1 does not answer" in found.found
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert extras.INSTALL_CELERY in network.run_workers(settings).fix
    places = Places(tmp_path)
    places.make()
    with pytest.raises(OpsError, match=re.escape(extras.INSTALL_CELERY)):
        write_dagster_home(places, handed_over=True)


def test_files_for_workers_differ_in_the_launcher_and_in_limits_alone(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.make()
    for handed_over in (True, False, True):  # a deployment may begin to hand over, and end it
        write_dagster_home(places, handed_over=handed_over)
    ours = yaml.safe_load((places.dagster_home / "dagster.yaml").read_text())
    alone = yaml.safe_load(shipped("dagster.yaml").read_text())
    assert {name for name in ours | alone if ours.get(name) != alone.get(name)} == {
        "run_launcher",
        "concurrency",
        "run_monitoring",
    }
    assert ours["run_monitoring"] == alone["run_monitoring"] | {"max_resume_run_attempts": 0}
    settings = load_settings(data_dir=tmp_path, ingest_by_runs=True)
    assert not [one for one in programs(settings, places, {"ui": 1, "replay": 2}) if one.name.startswith("ingest")]
