"""Label assets through real runs of Dagster on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from crypto_pipeline.defs.labels import chosen_parameters, days_due
from crypto_pipeline.defs.partitions import range_tags
from crypto_pipeline.labels.parameters import Strategy
from crypto_pipeline.store import Store
from crypto_pipeline_tests.labels.market import store_market

DAYS = 24
TIGHT = '{"tight": {"dca": {"fall": 0.03}, "channel": {"touches": 1}}}'


@pytest.fixture
def house(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, dg.DagsterInstance]]:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    monkeypatch.setenv("CRYPTO_PIPELINE_LABEL_PARAMETERS", TIGHT)
    with dg.DagsterInstance.ephemeral() as instance, Store(postgres_url) as store:
        yield store, instance


def run(instance: dg.DagsterInstance, first: datetime, end: datetime) -> Any:
    from crypto_pipeline.defs import defs

    job = defs.resolve_job_def("label_setups")
    return job.execute_in_process(instance=instance, tags=range_tags(first, end), raise_on_error=False)


def test_labels_are_made_in_one_run_shown_and_checked(
    house: tuple[Store, dg.DagsterInstance], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, instance = house
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=DAYS)
    monkeypatch.setattr("crypto_pipeline.defs.labels.FIRST_DAY", start)
    store_market(store, DAYS, start)
    due = days_due(store, datetime.now(UTC))
    assert [(first, last) for first, last in due] == [(start.date(), (today - timedelta(days=2)).date())]
    result = run(instance, today - timedelta(days=6), today)
    assert result.success
    every = {strategy: chosen_parameters(strategy) for strategy in Strategy}
    assert set(every[Strategy.DCA]) == {"default", "tight"}
    assert set(every[Strategy.SWING]) == {"default"}
    tight = store.labels.read("dca", every[Strategy.DCA]["tight"].hash, start, today)
    assert tight.height
    assert (tight["label_end_ts"] <= today).all()
    failed = [e.check_name for e in result.get_asset_check_evaluations() if not e.passed]
    assert failed == []
    materialized = {e.asset_key.path[-1]: e for e in result.get_asset_materialization_events()}
    assert set(materialized) == {f"strategy_{strategy}_labels" for strategy in Strategy}
    # A range has no pictures in its materializations; the check that counts events has both.
    pictured = [e for e in result.get_asset_check_evaluations() if e.check_name == "too_few_events"]
    shown = next(e for e in pictured if e.asset_key.path[-1] == "strategy_dca_labels").metadata
    assert "data:image/png;base64" in shown["outcomes"].value
    assert "data:image/png;base64" in shown["example"].value
    again = run(instance, today - timedelta(days=4), today - timedelta(days=3))
    assert again.success
    day = {e.asset_key.path[-1]: e for e in again.get_asset_materialization_events()}["strategy_dca_labels"]
    assert "data:image/png;base64" in day.materialization.metadata["outcomes_tight"].value
    assert [row["instrument_days"] for row in table(day)] == [0, 0]


def table(event: Any) -> list[dict[str, Any]]:
    return [record.data for record in event.materialization.metadata["computed"].records]
