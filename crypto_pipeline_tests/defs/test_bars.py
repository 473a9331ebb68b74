"""Assets and checks through real runs: one run for a range, checks with their alerts, nothing to do twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from crypto_pipeline.defs.base.partitions import partitions, range_tags
from crypto_pipeline.defs.base.runs import by_person
from crypto_pipeline.healing.checks.stored_bars import CHECKS, MINUTE_CHECKS
from crypto_pipeline.market import Instrument, Timeframe
from crypto_pipeline.ops.alerting.groups import alert_groups
from crypto_pipeline_tests.defs.conftest import Deployed

Span = tuple[datetime, datetime]


def test_a_range_is_one_run_that_fills_rolls_up_and_checks(deploy: Callable[..., Deployed], span: Span) -> None:
    house = deploy("BTC-USDT", "ETH-USDT")
    result = house.run("backfill_bars", tags=range_tags(*span))
    assert result.success
    materialized = {
        (str(event.asset_key.path[-1]), event.partition) for event in result.get_asset_materialization_events()
    }
    days = {partition for asset, partition in materialized if asset == "ohlc_1m"}
    assert len(days) == 3
    assert {asset for asset, _ in materialized} == {"instruments", "coverage"} | {
        f"ohlc_{timeframe}" for timeframe in Timeframe if timeframe is not Timeframe.W1
    }
    each_day_has_its_own_figures(house, result)
    evaluations = [one for one in result.get_asset_check_evaluations() if one.asset_key.path[-1] != "coverage"]
    assert len(evaluations) == 7 * len(CHECKS) + len(MINUTE_CHECKS)
    assert all({"missing", "present", "explained", "compared"} <= set(one.metadata) for one in evaluations)
    assert [evaluation.check_name for evaluation in evaluations if not evaluation.passed] == []
    begin = span[0].replace(hour=0, minute=0, second=0, microsecond=0)
    ours = house.store.reader.read(["BTC-USDT"], Timeframe.M1, begin, span[1])
    true = house.exchange.market.bars("BTCUSDT", Timeframe.M1, begin, span[1])
    assert ours.height >= true.height - 2
    assert ours["close"].to_list() == true.head(ours.height)["close"].to_list()


def each_day_has_its_own_figures(house: Deployed, result: Any) -> None:
    """What coverage holds of that day, not the run's totals; the last day has the pictures."""
    events = [event for event in result.get_asset_materialization_events() if event.asset_key.path[-1] == "ohlc_1h"]
    for event in events:
        day = datetime.fromisoformat(event.partition or "").replace(tzinfo=UTC)
        cells = house.store.coverage.cells([Timeframe.H1], day, day + timedelta(days=1))
        shown = {name: one.value for name, one in event.materialization.metadata.items()}
        for name in ("expected", "present", "explained"):
            assert shown[name] == cells[name].sum()
        assert shown["dagster/row_count"] == shown["expected"] - shown["missing"] - shown["explained"]
        assert "inserted" not in shown  # the run's, so no number of a day
        assert shown["run"]["inserted"] == sum(one.materialization.metadata["present"].value for one in events)
    assert "candles" in events[-1].materialization.metadata
    assert "candles" not in events[0].materialization.metadata


def test_instruments_are_chosen_in_the_config(deploy: Callable[..., Deployed], span: Span) -> None:
    house = deploy("BTC-USDT", "ETH-USDT")
    config = {"resources": {"scope": {"config": {"instruments": ["ETH-USDT"]}}}}
    assert house.run("backfill_bars", tags=range_tags(*span), config=config, only=["instruments", "ohlc_1m"]).success
    assert house.store.reader.span(["BTC-USDT", "ETH-USDT"], Timeframe.M1)["instrument"].to_list() == ["ETH-USDT"]


def test_an_unknown_instrument_fails_with_its_name(deploy: Callable[..., Deployed], span: Span) -> None:
    house = deploy("BTC-USDT")
    config = {"resources": {"scope": {"config": {"instruments": ["NOPE-USDT"]}}}}
    result = house.run("backfill_bars", tags=range_tags(*span), config=config)
    assert not result.success
    failures = [
        event.event_specific_data.error.to_string() for event in result.all_node_events if event.is_step_failure
    ]
    assert any("NOPE-USDT" in failure and "instruments add" in failure for failure in failures)


def test_an_instrument_that_the_venue_does_not_list_costs_only_itself(
    deploy: Callable[..., Deployed], span: Span
) -> None:
    house = deploy("BTC-USDT")
    house.store.instruments.add([Instrument.crypto("FOO-BAR")])
    whole = {"resources": {"scope": {"config": {"instruments": ["FOO-BAR", "BTC-USDT"]}}}}
    only = ["instruments", "ohlc_1m", "ohlc_5m"]
    result = house.run("backfill_bars", tags=range_tags(*span), config=whole, only=only)
    assert result.success
    assert [one.check_name for one in result.get_asset_check_evaluations() if not one.passed] == []
    house.store.instruments.remove("FOO-BAR")
    again = house.run("backfill_bars", tags=range_tags(*span), config=whole, only=["ohlc_1m"])
    assert again.success, "a run that was asked for before the removal leaves it out"
    assert house.store.checks.open_alerts().is_empty()
    assert house.store.coverage.cells([Timeframe.M1], *span)["instrument"].unique().to_list() == ["BTC-USDT"]
    assert house.store.instruments.forget(["FOO-BAR"]) == ["FOO-BAR"]
    assert house.run("backfill_bars", tags=range_tags(*span), only=["ohlc_1m"]).success


def test_a_failing_check_names_the_offenders_and_opens_an_alert_that_closes(
    deploy: Callable[..., Deployed], span: Span
) -> None:
    day = span[0].replace(hour=0, minute=0, second=0, microsecond=0)
    hidden = {
        "kind": "missing_range", "symbol": "ETH-USDT", "start": day.replace(hour=3).isoformat(),
        "end": day.replace(hour=4).isoformat(),
    }  # fmt: skip
    house = deploy("BTC-USDT", "ETH-USDT", "SOL-USDT", faults=[hidden])
    result = house.run("backfill_bars", tags=range_tags(*span))
    failed = {(e.asset_key.path[-1], e.check_name): e for e in result.get_asset_check_evaluations() if not e.passed}
    failure = failed["ohlc_1m", "accounted_for"]
    assert failure.metadata["instruments"].value == ["ETH-USDT"]
    assert "data:image/png;base64" in failure.metadata["coverage"].value
    assert "data:image/png;base64" in failure.metadata["candles"].value
    alerts = house.store.checks.open_alerts()
    assert ("accounted_for", "1m") in set(alerts.select("source", "timeframe").rows())
    assert alerts.height > 1
    (group,) = alert_groups(house.store)
    assert len(group.alerts) == alerts.height, "one hole is one cause, however many checks it fails"
    assert "bars missing of ETH-USDT" in group.cause
    detail = json.loads(alerts.filter(timeframe="1m")["detail"][0])
    assert detail["offenders"][0]["instrument"] == "ETH-USDT"
    today = range_tags(span[1] - timedelta(minutes=1), span[1])
    for _ in range(2):  # looking elsewhere takes no failure back, however often
        house.run("backfill_bars", tags=today, only=["ohlc_1m"])
        alerts = house.store.checks.open_alerts()
        assert ("accounted_for", "1m") in set(alerts.select("source", "timeframe").rows())
    house.exchange.clear_faults()
    assert house.run("backfill_bars", tags=range_tags(*span)).success
    assert house.store.checks.open_alerts().is_empty()


def test_days_that_a_person_chose_are_asked_for_now(
    deploy: Callable[..., Deployed], span: Span, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_HEAL_BACKOFF", "3600")
    day = span[0].replace(hour=0, minute=0, second=0, microsecond=0)
    house = deploy("BTC-USDT", "ETH-USDT")
    # two hours without an outage of the generated market
    hours = [day + timedelta(hours=hour) for hour in range(1, 21)]
    two = timedelta(hours=2)
    market = house.exchange.market
    first = next(at for at in hours if market.bars("ETHUSDT", Timeframe.M1, at, at + two).height == 120)
    hidden = {"kind": "missing_range", "symbol": "ETH-USDT", "start": first.isoformat()}
    house.exchange.control(hidden | {"end": (first + two).isoformat()})

    def lost() -> list[datetime]:
        return house.store.ledger.open(Timeframe.M1, states=["lost"])["start"].to_list()

    assert house.run("backfill_bars", tags=range_tags(*span), only=["instruments", "ohlc_1m"]).success
    house.exchange.clear_faults()
    assert house.run("fill_gaps").success
    assert lost() == [first], "what nobody asked for waits"
    config = {"start": first.isoformat(), "end": (first + two / 2).isoformat()}
    assert house.run("fill_gaps", config={"ops": {"heal": {"config": config}}}).success
    assert lost() == [first + two / 2]
    assert house.run("backfill_bars", tags=range_tags(*span), only=["ohlc_1m"]).success
    assert lost() == []
    assert by_person({"dagster/backfill": "abcdef", "dagster/partition": "2026-01-05"})
    assert not by_person({"processor": "historical_processor"})
    assert not by_person({"processor": "backfill", "dagster/from_automation_condition": "true"})


def test_weekly_bars_are_a_run_of_their_own(deploy: Callable[..., Deployed], span: Span) -> None:
    first_day = partitions().first_day

    house = deploy("BTC-USDT")
    assert house.run("backfill_bars", tags=range_tags(first_day, span[1])).success
    assert house.run("weekly_bars", tags=range_tags(first_day, span[1], Timeframe.W1)).success
    weeks = house.store.reader.read(["BTC-USDT"], Timeframe.W1, first_day, span[1])
    true = house.exchange.market.bars("BTCUSDT", Timeframe.W1, first_day, span[1])
    assert weeks["close"].to_list() == true.head(weeks.height)["close"].to_list()
    assert weeks.height >= 1


def test_jobs_fill_gaps_and_reconcile_by_config(deploy: Callable[..., Deployed], span: Span) -> None:
    house = deploy("BTC-USDT")
    assert house.run("refresh_instruments").success
    assert house.run("refresh_instruments").success
    asked = house.instance.fetch_materializations(dg.AssetKey("instruments"), limit=2).records
    versions = {record.event_log_entry.asset_materialization.tags["dagster/data_version"] for record in asked}
    assert len(asked) == 2
    assert len(versions) == 1  # nothing downstream is out of date because somebody asked again
    start = {"start": span[0].isoformat()}
    assert house.run("fill_gaps", config={"ops": {"heal": {"config": start}}}).success
    assert house.run("reconcile", config={"ops": {"compare": {"config": {"days": 1}}}}).success
    bad = house.run("fill_gaps", config={"ops": {"heal": {"config": {"start": "2026-01-02", "end": "2026-01-01"}}}})
    assert not bad.success
    assert dg.DagsterEventType.STEP_FAILURE in {event.event_type for event in bad.all_events}


def test_every_processor_leaves_a_row_of_what_it_did(deploy: Callable[..., Deployed], span: Span) -> None:
    house = deploy("BTC-USDT")
    assert house.run(
        "backfill_bars",
        tags={**range_tags(*span), "processor": "historical_processor"},
        only=["instruments", "ohlc_1m"],
    ).success
    assert house.run("fill_gaps", config={"ops": {"heal": {"config": {"job": "live_gap_monitor"}}}}).success
    rows = house.store.metrics.summary(span[0])
    assert set(rows["job"]) == {"historical_processor", "live_gap_monitor"}
    assert rows.filter(job="historical_processor")["bars_made"][0] > 2000
    assert set(rows["last_status"]) == {"succeeded"}
