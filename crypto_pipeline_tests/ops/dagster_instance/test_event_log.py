"""Dagster's event log keeps one connection, and survives the end of it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster import DagsterInstance

from crypto_pipeline.ops.dagster_instance.event_log import KeptConnectionEventLogStorage
from crypto_pipeline.store.database.connect import connect, with_database
from crypto_pipeline_tests.builders.places import PROJECT


@dg.asset
def something() -> int:
    return 1


def test_the_event_log_of_the_shipped_settings_goes_on_when_its_connection_was_ended(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"dagster_of_{postgres_url.rpartition('/')[2]}"
    with connect(postgres_url) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = with_database(postgres_url, name)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url.replace("postgresql://", "postgresql+psycopg2://"))
    shipped = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    stores = ("run_storage", "event_log_storage", "schedule_storage")
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({name: shipped[name] for name in stores}))
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.event_log_storage, KeptConnectionEventLogStorage)
        for _ in range(2):
            assert dg.materialize([something], instance=instance).success
            ended = _end_all(url)
        assert ended == 1, "one connection stayed, and no more"
        assert len(instance.fetch_materializations(something.key, limit=5).records) == 2


def _end_all(url: str) -> int:
    query = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
    """
    with connect(url) as connection:
        (ended,) = connection.execute(query).fetchone() or (0,)
    return int(ended)
