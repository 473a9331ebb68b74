"""The comparison with the venue's own bars as Dagster runs it: by itself, after everything urgent, told to the UI."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.bars import comparison as defined
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.market import Timeframe
from crypto_pipeline_tests.defs.conftest import Deployed


@pytest.fixture
def house(deploy: Callable[..., Deployed], monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """One instrument whose three days are stored, and not compared by any check."""
    monkeypatch.setenv("CRYPTO_PIPELINE_DAYS", "3")
    # At noon: in the first hour of a day the day before is not compared yet.
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    made = deploy("BTC-USDT", now=noon)
    MarketDatabase().run(lambda deployment: deployment.backfill())
    return made


def tick(house: Deployed, cursor: str | None = None) -> Any:
    with dg.build_sensor_context(instance=house.instance, definitions=defs(), cursor=cursor) as context:
        return defined.comparison_due(context, database=MarketDatabase())


def unfinished(house: Deployed, job: str) -> str:
    """A run of ``job`` that goes on."""
    run = house.instance.create_run_for_job(defs().resolve_job_def(job), status=dg.DagsterRunStatus.STARTED)
    return run.run_id


def test_what_is_stored_is_compared_unasked_and_checks_tell(house: Deployed) -> None:
    asked = tick(house)
    assert len(asked.run_requests) == 1
    result = house.run(defined.JOB)
    assert result.success
    for timeframe in (Timeframe.M1, Timeframe.M5, Timeframe.D1):
        key = dg.AssetCheckKey(dg.AssetKey(f"ohlc_{timeframe}"), "venue_agreement")
        (record,) = house.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        event = record.event
        assert event is not None
        evaluation = event.dagster_event.event_specific_data  # type: ignore[union-attr]
        assert evaluation.passed
        assert evaluation.metadata["bars_compared"].value > 0
        assert evaluation.metadata["share_compared"].value == 1.0
    results = house.store.checks.results()
    assert set(results["check"]) == {"venue_agreement"}
    assert results["passed"].all()
    # nothing is left: the next look is some time later
    assert "ended at" in tick(house).skip_message


def test_it_comes_after_every_other_run_but_not_never(house: Deployed) -> None:
    unfinished(house, "live_ingest")
    busy = unfinished(house, "fill_gaps")
    waiting = tick(house)
    assert not waiting.run_requests
    assert "fill_gaps" in waiting.skip_reason.skip_message
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(defined, "_BLOCKED", timedelta(0))
        assert len(tick(house, waiting.cursor).run_requests) == 1
    house.instance.report_run_canceled(house.instance.get_run_by_id(busy))  # type: ignore[arg-type]
    asked = tick(house, waiting.cursor)
    assert len(asked.run_requests) == 1, "ingest is no reason to wait"
    assert asked.cursor == ""


def test_a_run_is_never_asked_for_beside_another_and_goes_on_at_once_where_days_are_left(house: Deployed) -> None:
    going = unfinished(house, defined.JOB)
    assert "being compared" in tick(house).skip_message
    house.instance.add_run_tags(going, {"comparison/left": "7"})
    run = house.instance.get_run_by_id(going)
    assert run is not None
    house.instance.handle_new_event(_ended(run))
    assert len(tick(house).run_requests) == 1


def _ended(run: dg.DagsterRun) -> Any:
    import time

    from dagster._core.events import DagsterEvent, DagsterEventType

    event = DagsterEvent(event_type_value=DagsterEventType.RUN_SUCCESS.value, job_name=run.job_name)
    return dg.EventLogEntry(
        error_info=None, level="debug", user_message="", run_id=run.run_id, timestamp=time.time(),
        job_name=run.job_name, dagster_event=event,
    )  # fmt: skip


def test_a_dispute_is_an_alert_and_no_reason_to_look_at_more_days_in_every_run(house: Deployed) -> None:
    """A failed check has its span looked at again; a dispute ends by another comparison, not by a look at all days."""
    from crypto_pipeline.healing.comparison.agreement import NAME

    day = f"{house.store.coverage.first_day('BTC-USDT', Timeframe.M5):%Y-%m-%d}"
    fault = {"kind": "wrong_values", "timeframe": "5m", "start": f"{day}T10:00:00Z", "end": f"{day}T10:05:00Z"}
    house.exchange.control(fault)
    assert house.run(defined.JOB).success
    alerts = house.store.checks.open_alerts()
    assert alerts.select("source", "timeframe").rows() == [(NAME, "5m")]
    # what the venue repeats is no change: the day in dispute is not due again at once, and nothing downstream is stale
    assert MarketDatabase().run(lambda deployment: deployment.due_for_comparison()).is_empty()
    before = MarketDatabase().run(lambda deployment: _span(deployment.first))
    assert before[0] == before[1]


async def _span(pipeline: Any) -> tuple[Any, Any]:
    horizon = await pipeline.horizon()
    newest = horizon.now - timedelta(hours=1)
    start, _ = pipeline.span_to_verify(Timeframe.M5, newest, horizon.now)
    return start, newest
