"""Dagster's storage keeps one connection, and survives the end of it."""

from __future__ import annotations

import gc
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster import DagsterInstance
from sqlalchemy import event

from crypto_pipeline.ops.dagster_instance import storage
from crypto_pipeline.ops.dagster_instance.storage import KeptConnectionEventLogStorage
from crypto_pipeline.store.database.connect import connect, with_database
from crypto_pipeline_tests.builders.places import PROJECT

_OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@dg.asset
def something() -> int:
    return 1


@pytest.fixture
def home(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A folder with the shipped storage settings, and the URL of the database that they name."""
    name = f"dagster_of_{postgres_url.rpartition('/')[2]}"
    with connect(postgres_url) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = with_database(postgres_url, name)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url.replace("postgresql://", "postgresql+psycopg2://"))
    shipped = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    stores = ("run_storage", "event_log_storage", "schedule_storage")
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({name: shipped[name] for name in stores}))
    return tmp_path, url


@pytest.mark.own_server
def test_the_shipped_storage_has_one_connection_and_goes_on_when_it_was_ended(home: tuple[Path, str]) -> None:
    folder, url = home
    with DagsterInstance.from_config(str(folder)) as instance:
        assert isinstance(instance.event_log_storage, KeptConnectionEventLogStorage)
        for _ in range(2):
            assert dg.materialize([something], instance=instance).success
            assert instance.all_instigator_state() == []
            ended = _end_all(url)
        assert ended == 1, "one connection stayed, and no more"
        assert len(instance.fetch_materializations(something.key, limit=5).records) == 2


@pytest.mark.own_server
def test_a_process_that_says_so_keeps_the_connection_from_one_instance_to_the_next(
    home: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = home
    monkeypatch.setattr(storage, "_kept", None)
    storage.keep_engines()
    pids = []
    for _ in range(3):
        with DagsterInstance.from_config(str(folder)) as instance:
            instance.get_runs(limit=1)
        del instance
        gc.collect()
        pids.append(_sessions(url))
    assert pids[0] == pids[1] == pids[2] != []
    assert _end_all(url) == 1


@pytest.mark.own_server
def test_what_the_schema_has_is_asked_once(home: tuple[Path, str]) -> None:
    folder, _ = home
    with DagsterInstance.from_config(str(folder)) as instance:
        schedules = instance.schedule_storage
        assert isinstance(schedules, storage.KeptConnectionScheduleStorage)
        instance.all_instigator_state()
        sent: list[str] = []
        event.listen(schedules._engine, "before_cursor_execute", lambda *seen: sent.append(seen[2]))
        instance.all_instigator_state()
        assert len(sent) == 1, "the statement itself"


def _end_all(url: str) -> int:
    query = f"SELECT count(pg_terminate_backend(pid)) {_OTHERS}"
    with connect(url) as connection:
        (ended,) = connection.execute(query).fetchone() or (0,)
    return int(ended)


def _sessions(url: str) -> list[int]:
    with connect(url) as connection:
        return [pid for (pid,) in connection.execute(f"SELECT pid {_OTHERS} ORDER BY 1")]
