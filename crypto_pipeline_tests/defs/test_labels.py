"""Label assets through real runs of Dagster on a real database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import psycopg
import pytest

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.base.partitions import range_tags
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.labels.checks import record
from crypto_pipeline.defs.labels.sensors import days_due, labels_due
from crypto_pipeline.defs.labels.strategy_assets import chosen_parameters
from crypto_pipeline.labels.stored.checks import enough
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.label_market import store_market

DAYS = 24
#: The hour on the clock of the generated market, which ends with the day before; its days are those of the
#: definitions that all tests share.
HOUR = timedelta(hours=9.5)
TIGHT = '{"tight": {"dca": {"fall": 0.031}, "channel": {"touches": 1}}}'


@pytest.fixture
def house(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, dg.DagsterInstance]]:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    monkeypatch.setenv("CRYPTO_PIPELINE_LABEL_PARAMETERS", TIGHT)
    with dg.DagsterInstance.ephemeral() as instance, Store(postgres_url) as store:
        store.clock.learn("replay", midnight() + HOUR)
        yield store, instance


def midnight() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def run(instance: dg.DagsterInstance, first: datetime, end: datetime) -> Any:
    job = defs().resolve_job_def("label_setups")
    return job.execute_in_process(instance=instance, tags=range_tags(first, end), raise_on_error=False)


def test_labels_are_made_in_one_run_shown_and_checked(
    house: tuple[Store, dg.DagsterInstance], history: Callable[[datetime], None]
) -> None:
    store, instance = house
    today = midnight()
    start = today - timedelta(days=DAYS)
    history(start)
    store_market(store, DAYS, start)
    due = days_due(store, today + HOUR)
    assert [(first, last) for first, last in due] == [(start.date(), (today - timedelta(days=2)).date())]
    result = run(instance, today - timedelta(days=6), today)
    assert result.success
    every = {strategy: chosen_parameters(strategy) for strategy in Strategy}
    assert set(every[Strategy.DCA]) == {"default", "loose", "tight"}
    assert set(every[Strategy.SWING]) == {"default", "loose"}
    tight = store.labels.read(Strategy.DCA.definition.table, every[Strategy.DCA]["tight"].hash, start, today)
    assert tight.height
    assert (tight["label_end_ts"] <= today).all()
    failed = [e.check_name for e in result.get_asset_check_evaluations() if not e.passed]
    assert failed == []
    materialized = {e.asset_key.path[-1]: e for e in result.get_asset_materialization_events()}
    assert set(materialized) == {f"strategy_{strategy}_labels" for strategy in Strategy}
    each_day_has_its_own_figures(store, result, start)
    pictured = [e for e in result.get_asset_check_evaluations() if e.check_name == "too_few_events"]
    shown = next(e for e in pictured if e.asset_key.path[-1] == "strategy_dca_labels").metadata
    assert "data:image/png;base64" in shown["outcomes"].value
    assert "data:image/png;base64" in shown["example"].value
    again = run(instance, today - timedelta(days=4), today - timedelta(days=3))
    assert again.success
    day = {e.asset_key.path[-1]: e for e in again.get_asset_materialization_events()}["strategy_dca_labels"]
    assert "data:image/png;base64" in day.materialization.metadata["outcomes_tight"].value
    assert [row["instrument_days"] for row in table(day)] == [0, 0, 0]
    planted_faults_fail_their_checks(store, instance, today, history)


def each_day_has_its_own_figures(store: Store, result: Any, start: datetime) -> None:
    """What the table holds of that day; the last day, which the asset's page shows, has the pictures."""
    events = [e for e in result.get_asset_materialization_events() if e.asset_key.path[-1] == "strategy_dca_labels"]
    assert len(events) == 6
    parameters = chosen_parameters(Strategy.DCA)["tight"]
    counts = []
    for event in events:
        shown = event.materialization.metadata
        day = datetime.fromisoformat(event.partition or "").replace(tzinfo=UTC)
        labels = store.labels.read(Strategy.DCA.definition.table, parameters.hash, day, day + timedelta(days=1))
        outcomes = [shown[f"{name}_tight"].value for name in ("take_profit", "stop_loss", "time")]
        assert shown["labels_tight"].value == labels.height == sum(outcomes)
        assert shown["dagster/row_count"].value == sum(
            shown[f"labels{of_set}"].value for of_set in ("", "_loose", "_tight")
        )
        assert ("mean_net_return_tight" in shown) == (labels.height > 0)
        counts.append(labels.height)
    assert len(set(counts)) > 1
    assert "data:image/png;base64" in events[-1].materialization.metadata["outcomes_tight"].value
    assert {"labels_loose", "setups_loose"} <= set(events[-1].materialization.metadata)
    assert "outcomes_loose" not in events[-1].materialization.metadata
    assert "outcomes_tight" not in events[0].materialization.metadata


def planted_faults_fail_their_checks(
    store: Store, instance: dg.DagsterInstance, today: datetime, history: Callable[[datetime], None]
) -> None:
    parameters = chosen_parameters(Strategy.DCA)["default"]
    day = today - timedelta(days=6)

    def check() -> dict[str, tuple[bool, str, str]]:
        result = (
            defs()
            .resolve_job_def("label_setups")
            .execute_in_process(instance=instance, tags=range_tags(day, today), op_selection=["checks_dca_labels"])
        )
        assert result.success
        alerts = {row["source"]: row for row in store.checks.open_alerts().rows(named=True)}
        seen = {}
        for one in result.get_asset_check_evaluations():
            alert = alerts.get(f"{one.check_name}:dca")
            assert one.passed == (alert is None)
            assert alert is None or alert["summary"] == one.description
            seen[one.check_name] = (one.passed, one.severity.value, one.description or "")
        return seen

    assert all(passed for passed, _, _ in check().values())
    with psycopg.connect(store.url) as connection:
        # Told at its touch; computed from a bar that changed since; and of these labels there are never enough.
        told = connection.execute(
            "UPDATE research.strategy_dca_labels SET recorded_at = label_end_ts "
            "WHERE params_hash = %s AND bars_to_touch < horizon", [parameters.hash]
        ).rowcount  # fmt: skip
        connection.execute(
            "UPDATE market.coverage c SET data_version = nextval('market.data_version') FROM market.instruments i "
            "WHERE c.instrument_id = i.instrument_id AND i.symbol = 'PEPE-USDT' AND timeframe = '15m' AND day = %s",
            [day.date()],
        )
    assert told
    history(today - timedelta(days=90))
    seen = check()
    assert seen["label_finality"] == (
        False, "ERROR", f"{told} dca labels were told before their horizon had ended"
    )  # fmt: skip
    assert seen["labels_current"][:2] == (False, "WARN")
    assert "rest on bars that changed" in seen["labels_current"][2]
    assert seen["too_few_events"][:2] == (False, "WARN")
    assert "of 20)" in seen["too_few_events"][2]
    with psycopg.connect(store.url) as connection:
        connection.execute("UPDATE research.strategy_dca_labels SET recorded_at = now()")
    assert run(instance, day, today).success
    history(today - timedelta(days=DAYS))
    assert all(passed for passed, _, _ in check().values())


def table(event: Any) -> list[dict[str, Any]]:
    return [record.data for record in event.materialization.metadata["computed"].records]


def test_the_sensor_asks_for_what_is_due_and_then_for_nothing(
    house: tuple[Store, dg.DagsterInstance], history: Callable[[datetime], None]
) -> None:
    store, instance = house
    today = midnight()
    start = today - timedelta(days=7)
    history(start)
    store_market(store, 7, start)

    def ask() -> list[dg.RunRequest]:
        context = dg.build_sensor_context(
            instance=instance, definitions=defs(), resources={"database": MarketDatabase()}
        )
        answer = labels_due.evaluate_tick(context)
        return list(answer.run_requests or [])

    (request,) = ask()
    job = defs().resolve_job_def("label_setups")
    assert job.execute_in_process(instance=instance, tags=request.tags).success
    assert ask() == []
    # A bar that changes makes its days due again, and no other.
    at = today - timedelta(days=3, hours=2)
    with psycopg.connect(store.url) as connection:
        connection.execute(
            "UPDATE market.coverage c SET data_version = nextval('market.data_version') FROM market.instruments i "
            "WHERE c.instrument_id = i.instrument_id AND i.symbol = 'ETH-USDT' AND timeframe = '15m' AND day = %s",
            [at.date()],
        )
    (request,) = ask()
    assert job.execute_in_process(instance=instance, tags=request.tags).success
    assert ask() == []


def test_too_few_events_open_an_alert_that_closes(house: tuple[Store, dg.DagsterInstance]) -> None:
    store, _ = house
    day = datetime(2026, 1, 1, tzinfo=UTC)
    many = pl.DataFrame(
        {
            "instrument": [f"COIN{number % 20}-USDT" for number in range(600)],
            "signal_ts": [day + timedelta(hours=3 * number) for number in range(600)],
            "net_return": [0.01 if number % 3 else -0.01 for number in range(600)],
        }
    )
    few = enough(Strategy.DCA, [many.head(300)], timedelta(days=180), 500)
    record(store, few)
    (alert,) = store.checks.open_alerts().rows(named=True)
    assert (alert["source"], alert["severity"]) == ("too_few_events:dca", "warning")
    assert "events 300 of 500" in alert["summary"]
    assert "days 38 of 60" in alert["summary"]
    assert enough(Strategy.DCA, [many.head(300)], timedelta(days=7), 500).passed  # not judged
    record(store, enough(Strategy.DCA, [many], timedelta(days=180), 500))
    assert store.checks.open_alerts().is_empty()
