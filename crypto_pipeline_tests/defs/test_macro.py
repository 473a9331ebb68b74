"""Macro series in Dagster: there where series are set, absent elsewhere, run for real."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from crypto_pipeline import definitions
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.fred import NAMES, collect, fred_exchange, without_pace


@pytest.fixture
def deployed(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, dg.Definitions]]:
    without_pace(monkeypatch)
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    with fred_exchange() as exchange, Store(postgres_url) as store:
        collect(store, exchange, monkeypatch)
        yield store, definitions.built.__wrapped__()


def test_without_series_there_is_nothing_of_macro() -> None:
    keys = definitions.defs().get_repository_def().asset_graph.get_all_asset_keys()
    assert not [key for key in keys if "macro" in key.to_user_string() or "fred" in key.to_user_string()]


def test_the_source_is_upstream_and_everything_is_described(deployed: tuple[Store, dg.Definitions]) -> None:
    _, defs = deployed
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs() if spec.group_name == "macro"}
    assert set(specs) == {"venues/fred", "macro_observations"}
    assert [dep.asset_key.to_user_string() for dep in specs["macro_observations"].deps] == ["venues/fred"]
    assert specs["macro_observations"].freshness_policy is not None
    for spec in specs.values():
        assert spec.owners
        assert spec.kinds
        assert spec.description
        assert spec.tags["subject"] == "macro"
        assert "dagster/column_schema" in spec.metadata
        links = spec.metadata["dagster/code_references"].code_references
        assert all("crypto_pipeline/defs/macro/" in link.source for link in links)


def test_a_run_that_the_sensor_asks_for_collects_and_checks_every_series(
    deployed: tuple[Store, dg.Definitions],
) -> None:
    store, defs = deployed
    repository = defs.get_repository_def()
    sensor = repository.get_sensor_def("macro_due")
    resources = {"database": defs.resources["database"]} if defs.resources else {}
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance, resources=resources, repository_def=repository) as context,
    ):
        tick = sensor.evaluate_tick(context)
        [request] = tick.run_requests or []
        context.update_cursor(tick.cursor)
        assert not sensor.evaluate_tick(context).run_requests, "asked for a moment ago"
        done = defs.resolve_job_def("update_macro").execute_in_process(
            instance=instance, run_config=request.run_config, tags=request.tags
        )
        assert done.success
        results = {one.check_name: one.passed for one in done.get_asset_check_evaluations()}
        assert results == {"release_missed": True, "revision_size": True, "is_fresh": True}
        [made] = done.asset_materializations_for_node("macro_observations")
        assert made.metadata["series"].value == 5
        assert made.metadata["failed"].value == 0
        rows = store.macro.summary()["rows"].sum()
        assert made.metadata["dagster/row_count"].value == made.metadata["rows_added"].value == rows
        assert not sensor.evaluate_tick(context).run_requests, "no series is due any more"
    assert store.macro.progress() == dict.fromkeys(NAMES, True)
