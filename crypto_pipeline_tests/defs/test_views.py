"""Views through real runs: refreshed with age and rows, proven, and found false."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from datetime import UTC, datetime

import dagster as dg
import polars as pl
import pytest
from dagster._core.test_utils import instance_for_test

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.base.partitions import range_tags
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.views import schedules
from crypto_pipeline.defs.views.assets import column_schema
from crypto_pipeline.store.views.views import VIEWS
from crypto_pipeline_tests.defs.conftest import Deployed


def test_views_are_refreshed_and_proven(deploy: Callable[..., Deployed], span: tuple[datetime, datetime]) -> None:
    house = deploy("BTC-USDT", "ETH-USDT")
    assert house.run("backfill_bars", tags=range_tags(*span)).success
    result = house.run("refresh_today")
    assert result.success
    stored = house.store.connections.frame(
        "SELECT c.relname AS view, attname AS name, format_type(atttypid, NULL) AS type FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = attrelid WHERE relkind = 'm' AND attnum > 0 ORDER BY 1, attnum"
    )
    for view in VIEWS:
        said = [
            (column.name, column.type.replace("float8", "double precision")) for column in column_schema(view).columns
        ]
        full = stored.filter(view=view).with_columns(
            type=pl.col("type").replace("timestamp with time zone", "timestamptz")
        )
        assert said == full.select("name", "type").rows()
    made = {str(event.asset_key.path[-1]): event for event in result.get_asset_materialization_events()}
    assert set(made) == {"ohlc_today", "instrument_summary"}
    today = made["ohlc_today"].step_materialization_data.materialization.metadata
    assert today["dagster/row_count"].value > 2 * 1400
    assert today["age_seconds"].value < 60
    assert {(e.check_name, e.passed) for e in result.get_asset_check_evaluations()} == {("is_fresh", True)}

    proven = house.run("prove_views").get_asset_check_evaluations()
    assert len(proven) == 2 * len(VIEWS)
    assert [e.description for e in proven if not e.passed] == []

    spoil = "UPDATE market.ohlc_data SET close = low WHERE timeframe = '1m'"
    house.store.connections.run(lambda connection: connection.execute(spoil) and None)
    check = defs().resolve_asset_graph().asset_check_keys
    assert dg.AssetCheckKey(dg.AssetKey("ohlc_recent"), "equals_table") in check
    house.store.connections.run(
        lambda connection: (
            connection.execute("UPDATE ops.view_refreshes SET refreshed_at = now() - interval '1 hour'") and None
        )
    )
    job = dg.define_asset_job("look", selection=dg.AssetSelection.checks_for_assets("ohlc_today"))
    looked = dg.Definitions(
        asset_checks=defs().asset_checks, assets=defs().assets, jobs=[job], resources=defs().resources
    ).resolve_job_def("look")
    found = looked.execute_in_process(instance=house.instance, raise_on_error=False).get_asset_check_evaluations()
    assert {e.check_name for e in found if not e.passed} == {"is_fresh", "equals_table"}
    false = next(e for e in found if e.check_name == "equals_table")
    assert "BTC-USDT" in str(false.metadata["offenders"].value)
    assert {"ohlc_today_equals_table"} <= set(house.store.checks.open_alerts()["source"])


def test_the_views_of_today_are_refreshed_without_a_run(
    deploy: Callable[..., Deployed], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = deploy("BTC-USDT").store
    refresh = defs().get_repository_def().get_schedule_def("today_every_five_minutes")
    with instance_for_test() as instance:

        def asked() -> object:
            with dg.build_schedule_context(instance, datetime(2026, 11, 21, 9, 7, tzinfo=UTC)) as context:
                return copy_context().run(refresh, context, database=MarketDatabase())

        for number in (1, 2):
            assert isinstance(asked(), dg.SkipReason)
            for name in ("ohlc_today", "instrument_summary"):
                records = instance.fetch_materializations(dg.AssetKey(name), limit=9).records
                assert len(records) == number
                assert records[0].asset_materialization is not None
                assert records[0].asset_materialization.metadata["age_seconds"].value < 60
        key = dg.AssetCheckKey(dg.AssetKey("ohlc_today"), "is_fresh")
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        assert found.status.value == "SUCCEEDED"
        assert "ohlc_today_is_fresh" in store.checks.results()["check"].to_list()

        monkeypatch.setattr(schedules, "_LONGEST", 0.0)
        assert isinstance(asked(), dg.RunRequest), "a long refresh can be watched and ended"


def test_schedules_of_views_run_by_themselves() -> None:
    on = {
        schedule.name: schedule.cron_schedule
        for schedule in defs().schedules or ()
        if isinstance(schedule, dg.ScheduleDefinition) and schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    }
    assert on["today_every_five_minutes"] == "2-59/5 * * * *"
    assert on["recent_every_hour"] == "7 * * * *"
    assert on["views_proven_daily"] == "0 2 * * *"
