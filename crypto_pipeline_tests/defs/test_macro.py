"""Macro series in Dagster: there where series are set, absent elsewhere, run for real."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from crypto_pipeline import definitions
from crypto_pipeline.healing.macro.checks import CHECKS
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.fred import NAMES, collect, fred_exchange, without_pace
from crypto_pipeline_tests.builders.project import COLLECTED, project
from crypto_pipeline_tests.defs import listed_definitions


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
        assert any("crypto_pipeline/defs/macro/" in link.source for link in links), "beside the entry of the source"


def test_fred_is_a_source_with_checks_of_its_own(deployed: tuple[Store, dg.Definitions]) -> None:
    store, defs = deployed
    names = listed_definitions.names(defs)
    checks = {"venues/fred:connection", "venues/fred:freshness"}
    assert checks | {f"macro_observations:{name}" for name in CHECKS} <= set(names["checks"])
    assert {"check_fred", "update_macro"} <= set(names["jobs"])
    schedules = {one.name: one.cron_schedule for one in defs.get_repository_def().schedule_defs}
    assert (schedules["check_fred"], schedules["macro_every_six_hours"]) == ("7-59/15 * * * *", "40 */6 * * *")
    assert "macro_due" in names["sensors"]

    def checked() -> dict[str, tuple[bool, str | None]]:
        done = defs.resolve_job_def("check_fred").execute_in_process()
        assert done.success
        return {one.check_name: (one.passed, one.description) for one in done.get_asset_check_evaluations()}

    found = checked()
    assert found["connection"] == (True, "fred answers")
    assert not found["freshness"][0], "nothing was collected yet"
    asyncio.run(store.budgets.of("fred").pause(3600))
    passed, description = checked()["connection"]
    assert not passed
    assert "fred does not answer: it demands a pause of 3" in (description or "")
    assert "connection:fred" in set(store.checks.open_alerts()["source"])


_ENTRY = """
type: crypto_pipeline.defs.sources.source.Source
attributes:
  venue: fred
  documentation: https://example.org/fred
  owners: [team:other]
  kinds: [python]
  tags: {region: here}
  sync_cron: "0 * * * *"
"""


def test_an_entry_of_its_own_describes_fred(deployed: tuple[Store, dg.Definitions], tmp_path: Path) -> None:
    defs = project(tmp_path, {"main": COLLECTED, "fred": _ENTRY})
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    fred = specs["venues/fred"]
    assert (fred.owners, fred.kinds, fred.tags["region"]) == (["team:other"], {"api", "python"}, "here")
    assert fred.metadata["documentation"].url == "https://example.org/fred"
    assert [dep.asset_key for dep in specs["macro_observations"].deps] == [fred.key]
    schedules = {one.name: one.cron_schedule for one in defs.get_repository_def().schedule_defs}
    assert schedules["macro_every_six_hours"] == "0 * * * *"
    wrong = {"fred": f"{_ENTRY}  bars: {{name: fred, instruments: [BTC-USDT]}}"}
    with pytest.raises(Exception, match="Error while building definitions for fred") as refused:
        project(tmp_path / "again", wrong)
    assert str(refused.value.__cause__) == "source fred: it has macro series and no bars; remove the field bars"


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
