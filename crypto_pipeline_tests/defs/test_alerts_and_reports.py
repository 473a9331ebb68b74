"""The asset of open alerts by its sensor, and the daily report through real runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, JobFailureData, RunFailureReason

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.operations.alerts import open_alerts
from crypto_pipeline.defs.operations.failed_runs import failed_runs
from crypto_pipeline.defs.operations.reports import ASSET, JOB, report_schedule
from crypto_pipeline.ops.checks.subjects.scheduled import IN_REPORT_ZONE
from crypto_pipeline.ops.host.paths import Places, UpLock, UpState
from crypto_pipeline_tests.defs.conftest import Deployed


def evaluate(cursor: str | None) -> dg.SensorResult:
    context = dg.build_sensor_context(cursor=cursor, resources={"database": MarketDatabase()})
    result = open_alerts(context)
    assert isinstance(result, dg.SensorResult)
    return result


def test_the_page_of_alerts_shows_what_is_open_when_it_changes(deploy: Callable[..., Deployed]) -> None:
    deployed = deploy("BTC-USDT")
    checks = deployed.store.checks
    first = evaluate(None)
    assert [event.metadata["open"].value for event in first.asset_events] == [0]  # type: ignore[union-attr]
    checks.raise_alert("clock", "error", "7 s ahead")
    second = evaluate(first.cursor)
    (event,) = second.asset_events
    assert isinstance(event, dg.AssetMaterialization)
    record = event.metadata["alerts"].value.records[0].data  # type: ignore[union-attr]
    assert (record["source"], record["summary"], record["runbook"]) == ("clock", "7 s ahead", "docs/runbook.md#clock")
    checks.raise_alert("clock", "error", "8 s ahead")
    assert evaluate(second.cursor).asset_events == []
    checks.resolve_alert("clock")
    assert len(evaluate(second.cursor).asset_events) == 1


@dg.job
def interrupted() -> None:
    """Has no steps: only what Dagster says of its runs matters."""


@pytest.mark.parametrize(
    ("reason", "up_began", "alerts"),
    [
        (RunFailureReason.UNEXPECTED_TERMINATION, +60.0, []),
        (None, +60.0, []),  # its process is gone: reported from outside
        (RunFailureReason.UNEXPECTED_TERMINATION, -60.0, ["run:interrupted"]),
        (RunFailureReason.RUN_EXCEPTION, +60.0, ["run:interrupted"]),
    ],
)
def test_a_run_that_down_interrupted_is_no_alert(
    deploy: Callable[..., Deployed],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    reason: RunFailureReason | None,
    up_began: float,
    alerts: list[str],
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATA_DIR", str(tmp_path))
    places = Places(tmp_path)
    places.make()
    lock = UpLock(places)
    assert lock.take()
    UpState(os.getpid(), "healthy", time.time() + up_began, {}, {}, {}, True, "").write(places)
    deployed = deploy("BTC-USDT")
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(interrupted)
        instance.report_dagster_event(DagsterEvent("PIPELINE_START", run.job_name), run.run_id)
        data = None if reason is None else JobFailureData(None, failure_reason=reason)
        event = instance.report_run_failed(run, "ended", data)
        failed_runs(dg.build_run_status_sensor_context("failed_runs", event, instance, run).for_run_failure())
    lock.release()
    assert [source for source in deployed.store.checks.open_alerts()["source"] if source.startswith("run:")] == alerts


def test_the_daily_report_is_made_once_with_its_pictures(
    deploy: Callable[..., Deployed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATA_DIR", str(tmp_path))
    deployed = deploy("BTC-USDT")
    shown = []
    for _ in range(2):
        result = deployed.run(JOB, config={"ops": {ASSET: {"config": {"report": "morning", "day": "2026-03-29"}}}})
        assert result.success
        shown.append(result.get_asset_materialization_events()[0].step_materialization_data.materialization.metadata)
    assert "data:image/png;base64" in shown[0]["chart: Disk"].value
    assert "**Checks**" in shown[0]["headlines"].value
    assert [one["new"].value for one in shown] == [True, False]
    assert Path(str(shown[0]["file"].value)).read_text().startswith("<!doctype html>")


def test_the_schedules_ask_for_the_report_of_its_local_date() -> None:
    for zone, at in (
        ("UTC", datetime(2026, 3, 29, 9, 0, tzinfo=UTC)),
        ("Pacific/Auckland", datetime(2026, 3, 28, 20, 0, tzinfo=UTC)),
    ):
        schedule = report_schedule("morning", zone)
        assert schedule.execution_timezone == zone
        tick = schedule.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=at))
        (request,) = tick.run_requests or ()
        assert request.run_key == "morning:2026-03-29"
        assert request.run_config["ops"][ASSET]["config"] == {"report": "morning", "day": "2026-03-29"}
    schedules = {one.name: one for one in defs().get_repository_def().schedule_defs}
    assert {schedules[name].execution_timezone for name in IN_REPORT_ZONE} == {"UTC"}
