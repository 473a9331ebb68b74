"""A backup through a real run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from crypto_pipeline.definitions import defs
from crypto_pipeline.ops.backups import files
from crypto_pipeline_tests.defs.conftest import Deployed


def test_a_backup_is_made_read_back_and_missed(
    deploy: Callable[..., Deployed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_BACKUP_DIR", str(tmp_path / "backups"))
    monkeypatch.setenv("CRYPTO_PIPELINE_BACKUP_DAILY", "true")
    house = deploy("BTC-USDT")
    job = dg.define_asset_job("look", selection=dg.AssetSelection.checks_for_assets("backup"))
    looked = dg.Definitions(
        asset_checks=defs().asset_checks, assets=defs().assets, jobs=[job], resources=defs().resources
    ).resolve_job_def("look")
    missing = looked.execute_in_process(instance=house.instance).get_asset_check_evaluations()
    assert {e.check_name: e.passed for e in missing} == {"is_recent": False, "is_right": True}
    assert "backup_is_recent" in set(house.store.checks.open_alerts()["source"])

    result = house.run("make_backup")
    assert result.success
    assert [e.passed for e in result.get_asset_check_evaluations()] == [True, True]
    assert house.store.checks.open_alerts().is_empty()
    (made,) = files.complete(tmp_path / "backups")
    assert made.manifest.tables["market"]["market.instruments"][0] == 1
    with dg.build_schedule_context(scheduled_execution_time=made.manifest.created_at) as context:
        schedule = defs().resolve_schedule_def("nightly_backup")
        assert len(schedule.evaluate_tick(context).run_requests or []) == 1
        monkeypatch.setenv("CRYPTO_PIPELINE_BACKUP_DAILY", "false")
        assert not schedule.evaluate_tick(context).run_requests


def test_every_hour_tables_are_proven(deploy: Callable[..., Deployed]) -> None:
    house = deploy("BTC-USDT")
    assert house.run("refresh_instruments").success
    assert house.run("fill_gaps").success
    result = house.run("prove_stored")
    both = {"tables_hold_what_is_counted": True, "archive_files_are_whole": True}
    assert {e.check_name: e.passed for e in result.get_asset_check_evaluations()} == both
    house.store.connections.run(lambda connection: connection.execute("DELETE FROM market.ohlc_1d") and None)
    result = house.run("prove_stored")
    assert result.success, "a proof that fails is an alert, not a failed run"
    told = next(e for e in result.get_asset_check_evaluations() if e.check_name == "tables_hold_what_is_counted")
    assert not told.passed
    assert "market.ohlc_1d has 0 rows where coverage counts" in (told.description or "")
    assert "tables_hold_what_is_counted" in set(house.store.checks.open_alerts()["source"])
