"""Model assets, predictions and the test of promotion through real runs of Dagster on a real database.

Guards I11 (docs/invariants.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.models.assets import JOB, asset_name
from crypto_pipeline.defs.models.checks import model_checks
from crypto_pipeline.defs.models.metadata import shown
from crypto_pipeline.features.stored import update as features
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.stored.update import bring_up_to_date
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.safeguards.finding import ModelFinding
from crypto_pipeline.models.stored.checks import CHECKS, verify_models
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.models.stored.training_run import TrainingOutcome
from crypto_pipeline.models.training import Trained, train
from crypto_pipeline.ops.reports.sections import models as report_models
from crypto_pipeline.ops.reports.source import ReportSource
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.research.models.rows import ModelRun
from crypto_pipeline_tests.builders import model_events
from crypto_pipeline_tests.builders import models as built
from crypto_pipeline_tests.builders.label_market import store_market
from crypto_pipeline_tests.labels.comparison import OWN

DAYS = 24
#: The generated market ends with the day before.
TODAY = datetime(2026, 11, 21, tzinfo=UTC)
OWN_SETS: dict[str, Any] = {"default": OWN["wide"]}
#: Labels that end within 12 hours.
SHORT_SETS: dict[str, Any] = {"default": OWN["narrow"]}
PARAMETERS = parameter_sets(SHORT_SETS)["default"][Strategy.DCA]


@pytest.fixture
def house(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, dg.DagsterInstance]]:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    monkeypatch.setenv("CRYPTO_PIPELINE_LABEL_PARAMETERS", json.dumps(OWN_SETS))
    with dg.DagsterInstance.ephemeral() as instance, Store(postgres_url) as store:
        yield store, instance


def run(instance: dg.DagsterInstance, job: str, *only: str) -> Any:
    chosen = [dg.AssetKey(name) for name in only] or None
    return (
        defs().resolve_job_def(job).execute_in_process(instance=instance, asset_selection=chosen, raise_on_error=False)
    )


def of(result: Any, name: str) -> Any:
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key.path[-1] == name]
    return event.materialization.metadata


def judged(result: Any) -> dict[str, tuple[bool, str]]:
    return {one.check_name: (one.passed, one.description or "") for one in result.get_asset_check_evaluations()}


@pytest.fixture(scope="module")
def trained() -> Trained:
    """A model of a market in which inputs tell something, with all its curves."""
    market = model_events.Market(signal=0.5, days=190, density=0.03)
    found = train(model_events.events(market), Strategy.DCA, model_events.settings_of(market, rounds=30))
    assert isinstance(found, Trained)
    return found


def add(store: Store, found: Trained, *findings: ModelFinding) -> TrainingOutcome:
    end = found.model.trained_until
    run = ModelRun("dca", "trained", end, 1.0, end)
    model_id = Registry(store).add(replace(found, findings=findings), (end, end + timedelta(days=28)), run)
    blocked = store.models.find(model_id).blocked_because
    return TrainingOutcome(Strategy.DCA, "trained", model_id, blocked, (), None, 4_321, 61.25)


def test_too_little_data_is_a_state_that_says_what_is_missing(house: tuple[Store, dg.DagsterInstance]) -> None:
    store, instance = house
    store_market(store, DAYS, TODAY - timedelta(days=DAYS))
    for name in ("default", "loose"):
        parameters = parameter_sets(OWN_SETS)[name][Strategy.DCA]
        bring_up_to_date(store, Strategy.DCA, parameters, TODAY - timedelta(days=DAYS), TODAY)
    result = run(instance, JOB, "dca_model")
    assert result.success
    told = of(result, "dca_model")
    assert told["state"].value == "insufficient_data"
    missing = {record.data["what"]: record.data for record in told["missing"].records}
    assert missing["days of training events"]["needed"] == 60
    assert "goes by its rules alone" in told["summary"].value
    assert told["dagster/row_count"].value > 0
    assert store.models.every() == []
    checks = judged(result)
    assert set(checks) == set(CHECKS)
    assert all(passed for passed, _ in checks.values())
    assert "insufficient data" in checks["champion_present"][1]
    assert store.checks.open_alerts().is_empty()


def test_a_model_is_shown_with_figures_of_rows_that_it_had_not_seen(store: Store, trained: Trained) -> None:
    told = shown(store, add(store, trained))
    assert told["state"] == "trained"
    assert (told["dagster/row_count"], told["seconds"]) == (4_321, 61.2)
    for name in ("reliability", "profit", "learning", "importances"):
        assert "data:image/png;base64" in told[name].value
    assert len(told["folds"].records) == len(trained.model.metrics["folds"]) == 6
    results = {record.data["of"]: record.data for record in told["results"].records}
    out_of_fold = trained.out_of_fold.filter("is_default")
    assert results["default set, out of fold"]["rows"] == out_of_fold.height
    assert results["default set, out of fold"]["trades"] == out_of_fold["take"].sum()
    assert results["loose set, out of fold"]["rows"] == trained.out_of_fold.height
    assert results["default set, hold-out"]["rows"] == trained.holdout.filter("is_default").height
    won = out_of_fold.filter("take")["y"].mean()
    assert results["default set, out of fold"]["win_rate"] == pytest.approx(won, abs=1e-4)
    tiers = [record.data["of"] for record in told["by_tier_and_month"].records]
    assert tiers[:3] == ["tier large", "tier meme", "tier mid"]


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as opened:
        yield opened


def test_a_blocked_model_says_why_and_alerts_until_the_next_one(
    house: tuple[Store, dg.DagsterInstance], trained: Trained
) -> None:
    store, instance = house
    good = ModelFinding("too_good_to_be_true", "auc", 0.97, 0.85, "auc of the hold-out rows is 0.970, above 0.85")
    lives = ModelFinding("label_overlap", "fold 2", 3.0, 0.0, "3 labels that fold 2 learned from live while …")
    metrics = {**trained.model.metrics, "findings": [good.to_document(), lives.to_document()]}
    model = replace(trained.model, metrics=metrics)
    told = shown(store, add(store, replace(trained, model=model), good, lives))
    assert told["state"] == "blocked"
    assert "Blocked: auc of the hold-out rows is 0.970" in told["summary"]
    assert len(told["findings"].records) == 2
    chosen = ["label_overlap", "too_good_to_be_true", "age"]
    assert evaluated(instance, chosen) == {"label_overlap": False, "too_good_to_be_true": False, "age": True}
    alerts = {row["source"]: row["severity"] for row in store.checks.open_alerts().rows(named=True)}
    assert alerts == {"model_too_good_to_be_true:dca": "error", "model_label_overlap:dca": "error"}
    add(store, replace(trained, model=replace(trained.model, seed=99)))
    assert evaluated(instance, chosen) == dict.fromkeys(chosen, True)
    assert store.checks.open_alerts().is_empty()


def evaluated(instance: dg.DagsterInstance, names: list[str]) -> dict[str, bool]:
    """The checks of the model of DCA, alone."""
    keys = [dg.AssetCheckKey(dg.AssetKey("dca_model"), name) for name in names]
    result = dg.materialize(
        [model_checks(Strategy.DCA)], instance=instance, resources={"database": MarketDatabase()},
        selection=dg.AssetSelection.checks(*keys),
    )  # fmt: skip
    return {one.check_name: one.passed for one in result.get_asset_check_evaluations()}


def test_age_and_a_champion_that_cannot_be_used(store: Store, trained: Trained) -> None:
    outcome = add(store, trained)
    assert outcome.model_id is not None
    until, settings = trained.model.trained_until, Settings()

    def check(name: str, days: float) -> tuple[bool, str, str]:
        (found,) = verify_models(store, Strategy.DCA, settings, until + timedelta(days=days), [name])
        return found.passed, found.severity, found.summary

    assert check("age", 100)[0]  # nobody uses it
    assert "no model has passed the test" in check("champion_present", 31)[2]
    store.clock.learn("replay", until + timedelta(days=31))
    Registry(store).force(Strategy.DCA, outcome.model_id, reason="a test", person="Ann")
    assert check("age", 31)[:2] == (True, "warning")
    assert check("age", 46)[:2] == (False, "warning")
    passed, severity, words = check("age", 61)
    assert (passed, severity) == (False, "error")
    assert "predicts no more" in words
    assert check("champion_present", 31)[0]
    store.connections.run(
        lambda connection: (
            connection.execute("UPDATE research.models SET document = replace(document, '3', '4')") and None
        )
    )
    passed, severity, words = check("champion_present", 31)
    assert (passed, severity) == (False, "error")
    assert "cannot be used" in words
    assert not check("parity", 31)[0]


def test_predictions_that_live_missed_are_made_good_and_judged_when_they_mature(
    house: tuple[Store, dg.DagsterInstance], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, instance = house
    monkeypatch.setenv("CRYPTO_PIPELINE_LABEL_PARAMETERS", json.dumps(SHORT_SETS))
    # In the evening setups of the day before yesterday are too old: fewer than 100 mature, too few to judge the model.
    store.clock.learn("replay", TODAY + timedelta(hours=20))
    store_market(store, DAYS, TODAY - timedelta(days=DAYS))
    begin, strategy = TODAY - timedelta(days=2), Strategy.DCA
    features.bring_up_to_date(store, begin, TODAY, now=TODAY)
    assert run(instance, "predict_setups").success  # no model, nothing to do
    model = built.model(strategy, until=TODAY - timedelta(days=35))
    lenient = replace(model, null_rates=dict.fromkeys(model.inputs, 0.5), params_hash=PARAMETERS.hash)
    added = Registry(store).add(
        Trained(lenient, pl.DataFrame(), pl.DataFrame(), ()), (TODAY - timedelta(days=31), TODAY - timedelta(days=3)),
        ModelRun("dca", "trained", TODAY, 1.0, TODAY),
    )  # fmt: skip
    Registry(store).force(strategy, added, reason="a test", person="Ann")
    with_champion_since(store, begin)
    result = run(instance, "predict_setups")
    assert result.success
    made = store.models.predictions.read(strategy="dca")
    told = of(result, "predictions")
    assert told["dagster/row_count"].value == len(made) > 5
    assert told["models"].value == {"dca": added}
    assert judged(result)["predictions_complete"][0], judged(result)
    assert [record.data["matured"] for record in told["matured"].records] == [0]  # no label of them is stored
    matured_predictions_judge(store, instance, added)
    store.connections.run(
        lambda connection: connection.execute("DELETE FROM research.predictions WHERE decision = 'take'") and None
    )
    complete = dg.materialize(
        [definition for definition in defs().asset_checks or () if "predictions" in str(definition.check_keys)],
        instance=instance, resources=defs().resources or {},
        selection=dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("predictions"), "predictions_complete")),
    )  # fmt: skip
    passed, words = judged(complete)["predictions_complete"]
    assert not passed
    assert "materialize `predictions`" in words
    assert of(run(instance, "predict_setups"), "predictions")["dagster/row_count"].value > 0


def matured_predictions_judge(store: Store, instance: dg.DagsterInstance, model_id: str) -> None:
    """When labels have ended: figures of them alone, beside what they came to; and every check has something to say."""
    start = TODAY - timedelta(days=DAYS)
    bring_up_to_date(store, Strategy.DCA, PARAMETERS, start, TODAY, now=TODAY)
    (row,) = [record.data for record in of(run(instance, "predict_setups"), "predictions")["matured"].records]
    labels = store.labels.read(Strategy.DCA.definition.table, PARAMETERS.hash, start, TODAY)
    came = {
        (name, signal): net > 0 for name, signal, net in labels.select("instrument", "signal_ts", "net_return").rows()
    }
    predicted = [made for made, _ in store.models.predictions.read(strategy="dca") if made.probability is not None]
    won = [came[made.instrument, made.signal_ts] for made in predicted if (made.instrument, made.signal_ts) in came]
    assert (row["model"], row["matured"]) == (model_id, len(won))
    assert 5 < len(won) < len(predicted)
    assert row["won"] == pytest.approx(sum(won) / len(won), abs=1e-4)
    settings = Settings(label_parameters=SHORT_SETS)
    found = {one.name: one for one in verify_models(store, Strategy.DCA, settings, TODAY)}
    assert found.keys() == CHECKS.keys()
    assert [name for name, one in found.items() if not one.passed] == []
    assert f"{len(won)} matured predictions" in found["calibration"].summary
    assert "features:" in found["no_leak"].summary
    assert "inputs drift" in found["input_drift"].summary
    report = ReportSource(settings, store, store.url, "afternoon", TODAY - timedelta(days=1), TODAY, TODAY)
    matured = report_models.matured(report)
    assert matured.headline == f"dca: {len(won)} predictions have matured; modes are compared from 100 on."
    assert matured.tables[0].rows[0][:3] == ("dca", len(won), round(100 * sum(won) / len(won), 2))
    assert {line[1] for line in matured.tables[1].rows} == {"off", "boost", "gate"}
    assert report_models.ages(report).tables[0].rows[0][1] == model_id[:12]


def with_champion_since(store: Store, moment: datetime) -> None:
    """As if the champion had been promoted then."""
    store.connections.run(
        lambda connection: connection.execute("UPDATE research.model_aliases SET since_market = %s", [moment]) and None
    )


def test_the_test_of_promotion_is_looked_after_and_says_why_it_is_not_due(
    house: tuple[Store, dg.DagsterInstance], trained: Trained
) -> None:
    store, instance = house
    add(store, trained)
    result = run(instance, "promote_models")
    assert result.success
    (output,) = [event for event in result.all_node_events if event.is_successful_output]
    told = {name: value.value for name, value in output.step_output_data.metadata.items()}
    assert told["swing"] == "not_due: it has no challenger: the next training may make one"
    assert told["dca"].startswith("not_due: ")
    assert store.models.decisions() == []


def test_every_monday_all_are_trained_and_before_only_who_waits_for_it(store: Store) -> None:
    monday = datetime(2026, 11, 30, 3, 10, tzinfo=UTC)
    moment = store.clock.now()

    def asked(at: datetime) -> set[str]:
        context = dg.build_schedule_context(scheduled_execution_time=at, resources={"database": AtUrl(url=store.url)})
        answer = defs().get_schedule_def("models_weekly").evaluate_tick(context)
        return {key.path[-1] for request in answer.run_requests or () for key in request.asset_selection or ()}

    every = {asset_name(strategy) for strategy in Strategy}
    assert asked(monday) == asked(monday + timedelta(days=1)) == every  # none was ever trained
    for strategy, sufficient_at in (
        ("dca", moment - timedelta(1)),
        ("swing", moment + timedelta(9)),
        ("channel", None),
    ):
        store.models.note_run(ModelRun(strategy, "insufficient_data", moment, 1.0, moment, sufficient_at=sufficient_at))
    assert asked(monday) == every
    assert asked(monday + timedelta(days=2)) == {"dca_model"}
    store.models.note_run(ModelRun("dca", "insufficient_data", moment, 1.0, moment))
    assert asked(monday + timedelta(days=3)) == set()


class AtUrl(MarketDatabase):
    """The market database at an address."""

    url: str

    @contextmanager
    def store(self) -> Iterator[Store]:
        with Store(self.url) as opened:
            yield opened


def test_every_strategy_has_a_model_asset_with_its_labels_upstream() -> None:
    graph = defs().resolve_asset_graph()
    for strategy in Strategy:
        key = dg.AssetKey(asset_name(strategy))
        assert {dg.AssetKey(f"strategy_{strategy}_labels"), dg.AssetKey("ml_features")} == graph.get(key).parent_keys
        assert graph.get(key).partitions_def is None
