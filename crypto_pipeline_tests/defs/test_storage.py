"""Housekeeping through real runs, and Dagster's own storage on a real PostgreSQL kept bounded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from crypto_pipeline.ops.dagster_instance.cleanup import clean
from crypto_pipeline.ops.supervision.dagster_home import shipped
from crypto_pipeline.store import EmbeddedServer, ensure_databases
from crypto_pipeline.store.database.connect import plain_url
from crypto_pipeline.store.operations import dagster_storage
from crypto_pipeline_tests.defs.conftest import Deployed

_numbers = count()


def test_storage_is_reported_and_judged(deploy: Callable[..., Deployed], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_DISK_GB", "100")
    house = deploy("BTC-USDT")
    result = house.run("measure_storage")
    assert result.success
    shown = result.get_asset_materialization_events()[0].step_materialization_data.materialization.metadata
    assert "data:image/png;base64" in shown["room"].value
    assert "until the disk is full" in shown["headline"].value
    assert {e.check_name: e.passed for e in result.get_asset_check_evaluations()} == {
        "disk_lasts": True,
        "partitions_ahead": False,
        "tables_are_not_bloated": True,
    }
    assert house.store.checks.open_alerts()["source"].to_list() == ["storage_partitions_ahead"]
    assert house.run("maintenance").success
    assert all(e.passed for e in house.run("measure_storage").get_asset_check_evaluations())
    assert house.store.checks.open_alerts().is_empty()
    analyzed = house.store.connections.frame("SELECT count(*) AS n FROM pg_stats WHERE schemaname = 'market'")
    assert analyzed["n"][0] > 0


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def cells() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"some": "thing"}, data_version=dg.DataVersion("1"))


@dg.asset_check(asset=cells)
def fine() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@pytest.fixture
def instance(
    postgres_server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[dg.DagsterInstance, str]]:
    """A Dagster instance with the product's settings on a database of its own.

    Each has another name: a process asks once whether the storage at an address has its tables.
    """
    name = f"dagster_in_tests_{os.getpid()}_{next(_numbers)}"
    ensure_databases(postgres_server.url("postgres"), [name])
    url = postgres_server.url(name)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url.replace("postgresql://", "postgresql+psycopg2://"))
    (tmp_path / "dagster.yaml").write_text(shipped("dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened, url
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_old_runs_go_and_the_state_of_partitions_stays(instance: tuple[dg.DagsterInstance, str]) -> None:
    house, url = instance
    assert dagster_storage.is_there(url)
    job = dg.Definitions(
        assets=[cells], asset_checks=[fine], jobs=[dg.define_asset_job("make")], executor=dg.in_process_executor
    ).resolve_job_def("make")
    runs = [job.execute_in_process(instance=house, partition_key=key).run_id for key in ("a", "a", "b", "a")]

    def count(table: str) -> int:
        with psycopg.connect(plain_url(url)) as connection:
            row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        return row[0] if row else -1

    assert count("asset_check_executions") == 4
    assert dagster_storage.surplus_runs(url, 3) == runs[:1]
    assert clean(house, url, timedelta(days=1)).runs == 0
    # all are older than nothing; the newest of each partition hold its state
    done = clean(house, url, timedelta(seconds=-5))
    assert (done.runs, done.kept) == (2, 2)
    assert {record.dagster_run.run_id for record in house.get_run_records()} == {runs[2], runs[3]}
    assert house.get_materialized_partitions(dg.AssetKey("cells")) == {"a", "b"}
    assert count("asset_check_executions") == 4
    with psycopg.connect(plain_url(url)) as connection:
        connection.execute("UPDATE asset_check_executions SET create_timestamp = create_timestamp - interval '2 hours'")
    # of the runs that are gone, but the newest of all
    assert clean(house, url, timedelta(seconds=-5)).checks == 2
    assert count("asset_check_executions") == 2
    with psycopg.connect(plain_url(url)) as connection:
        left = {run_id for (run_id,) in connection.execute("SELECT DISTINCT run_id FROM event_logs")}
    assert left == {runs[2], runs[3]}
    again = clean(house, url, timedelta(seconds=-5))
    assert (again.runs, again.kept, again.checks) == (0, 2, 0)
    assert dagster_storage.sizes(url).height > 5


def test_events_without_a_run_are_deleted_but_for_the_newest(instance: tuple[dg.DagsterInstance, str]) -> None:
    house, url = instance
    for number in range(3):
        house.report_runless_asset_event(dg.AssetMaterialization("view", metadata={"number": number}, tags={"a": "b"}))
        house.report_runless_asset_event(dg.AssetMaterialization("cells", partition="a"))
        house.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=dg.AssetKey("view"), check_name="fine", passed=True)
        )
    assert clean(house, url, timedelta(days=1)).runless == 0
    assert clean(house, url, timedelta(seconds=-5)).runless == 5, "evaluations have a table of their own"
    view, cell = (house.fetch_materializations(dg.AssetKey(name), limit=9).records for name in ("view", "cells"))
    assert len(view) == 1
    assert view[0].asset_materialization is not None
    assert view[0].asset_materialization.metadata["number"].value == 2
    assert len(cell) == 3, "partitions keep theirs"
    key = dg.AssetCheckKey(dg.AssetKey("view"), "fine")
    assert house.event_log_storage.get_latest_asset_check_execution_by_key([key])[key].status.value == "SUCCEEDED"
    assert clean(house, url, timedelta(seconds=-5)).runless == 0


def test_dagsters_storage_stops_growing(instance: tuple[dg.DagsterInstance, str]) -> None:
    house, url = instance
    job = dg.Definitions(
        assets=[cells], asset_checks=[fine], jobs=[dg.define_asset_job("make")], executor=dg.in_process_executor
    ).resolve_job_def("make")

    def night() -> dict[str, int]:
        """A day of runs, then maintenance; rows of every table of Dagster's."""
        for key in ("a", "b", "b"):
            assert job.execute_in_process(instance=house, partition_key=key).success
        with psycopg.connect(plain_url(url)) as connection:
            connection.execute("UPDATE asset_check_executions SET create_timestamp = now() - interval '2 hours'")
        clean(house, url, timedelta(days=14), per_job=2)
        with psycopg.connect(plain_url(url)) as connection:
            tables = connection.execute("SELECT relname FROM pg_stat_user_tables").fetchall()
            counts = [(name, connection.execute(f"SELECT count(*) FROM {name}").fetchone()) for (name,) in tables]
        return {name: row[0] for name, row in counts if row}

    night()
    second, third = night(), night()
    # the newest two of the job, and the one that holds the state of partition a
    assert second["runs"] == 3
    assert third == second
