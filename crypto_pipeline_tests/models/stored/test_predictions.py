"""Predictions of setups: every one once, with all that it was decided from, and the same again from what is stored.

Guards I6 and I11 (docs/invariants.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from crypto_pipeline.features.stored import update as features
from crypto_pipeline.features.stored.live import LiveStep
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.stored.training import training_set
from crypto_pipeline.labels.stored.update import bring_up_to_date
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.decision import decide
from crypto_pipeline.models.predictor import Prediction, Predictor
from crypto_pipeline.models.stored.champions import Champions
from crypto_pipeline.models.stored.live import LivePredictions
from crypto_pipeline.models.stored.predictions import predict_span
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.research.models.rows import PredictionRow
from crypto_pipeline_tests.builders import models as built
from crypto_pipeline_tests.builders.label_market import START, store_market
from crypto_pipeline_tests.labels.comparison import OWN
from crypto_pipeline_tests.models.stored.test_registry import add

DAYS = 24
BEGIN, END = START + timedelta(days=18), START + timedelta(days=20)
BAR = timedelta(minutes=15)
EVERY = list(Strategy)
SETTINGS = Settings(label_parameters={"default": OWN["wide"]}, ml_mode={"dca": "gate", "channel": "off"})
PARAMETERS = parameter_sets(SETTINGS.label_parameters)["default"]


@pytest.fixture(scope="module")
def market(new_database) -> Iterator[str]:
    """Bars, features and labels of a market, and a champion of each strategy since before BEGIN."""
    with new_database("predictions_in_tests") as url, Store(url) as store:
        store_market(store, DAYS)
        now = START + timedelta(days=DAYS)
        features.bring_up_to_date(store, BEGIN, END, now=END)
        for strategy in EVERY:
            bring_up_to_date(store, strategy, PARAMETERS[strategy], BEGIN, END, now=now)
        store.clock.learn("replay", BEGIN - timedelta(hours=1))
        for strategy in EVERY:
            model = built.model(strategy)
            lenient = replace(model, null_rates=dict.fromkeys(model.inputs, 0.5), params_hash=PARAMETERS[strategy].hash)
            Registry(store).force(strategy, add(store, lenient), reason="a test", person="Ann")
        yield url


@pytest.fixture
def store(market: str) -> Iterator[Store]:
    with Store(market) as opened:
        opened.connections.run(lambda connection: connection.execute("TRUNCATE research.predictions") and None)
        yield opened


def rows(store: Store) -> list[PredictionRow]:
    return [row for row, _ in store.models.predictions.read()]


def subjects(found: list[PredictionRow]) -> set[tuple[str, str, object]]:
    return {(row.strategy, row.instrument, row.signal_ts) for row in found}


def test_every_setup_has_one_prediction_that_can_be_decided_again(store: Store) -> None:
    made = predict_span(store, SETTINGS, Champions(), BEGIN, END, now=END)
    assert predict_span(store, SETTINGS, Champions(), BEGIN, END, now=END) == []
    stored = rows(store)
    assert subjects(stored) == subjects(made)
    assert len(stored) == len(made) > 20
    for strategy in EVERY:
        table = strategy.definition.table
        labels = store.labels.read(table, PARAMETERS[strategy].hash, BEGIN, END)
        mine = {row[1:] for row in subjects(stored) if row[0] == strategy}
        assert mine == set(labels.select("instrument", pl.col("signal_ts")).rows())
    assert {row.refused for row in stored} <= {None, "ineligible"}
    for row, names in store.models.predictions.read():
        if row.refused is not None:
            assert (row.decision, row.size_factor, row.probability) == ("take", 1.0, None)
            continue
        predictor = Predictor(Registry(store).load(row.model_id))
        again = predictor.predict(_as_row(row, names), explain=True)
        assert again.contributions is not None
        assert (again.probability, again.raw, again.p_star) == (row.probability, row.raw, row.p_star)
        assert tuple(again.contributions.tolist()) == row.contributions
        decided = decide(SETTINGS.ml_mode.get(row.strategy, "boost"), again.probability, again.p_star)
        assert (decided.decision, decided.size_factor) == (row.decision, row.size_factor)
        assert (row.params_hash, row.live) == (PARAMETERS[Strategy(row.strategy)].hash, False)
    factors = {row.size_factor for row in stored if row.strategy == "swing"}
    assert min(factors) >= 0.5
    assert max(factors) <= 1.5
    assert len(factors) > 1
    assert {row.decision for row in stored if row.strategy == "dca" and row.refused is None} == {"take", "skip"}


def _as_row(row: PredictionRow, names: tuple[str, ...]) -> dict[str, object]:
    values: dict[str, object] = dict(zip(names, row.inputs, strict=True))
    number = values["tier"]
    assert isinstance(number, float)
    return values | {"tier": built.TIERS[int(number)]}


def test_live_and_training_rows_have_the_same_predictions(store: Store) -> None:
    """Bar after bar, from nothing but the bars so far; compared with the rows that a model would learn from."""
    live = LivePredictions(SETTINGS)
    assert live.after_features(store, BEGIN + 8 * BAR, LiveStep(0, 0.0)) >= 0
    for number in range(8, 48):
        opened = BEGIN + number * BAR
        live.after_features(store, opened + BAR + timedelta(seconds=3), LiveStep(4, 0.1, (opened,)))
        assert live.after_features(store, opened + 2 * BAR, LiveStep(0, 0.1)) == 0
    stored, end = rows(store), BEGIN + 48 * BAR
    assert all(row.live == (row.signal_ts >= BEGIN + 7 * BAR) for row in stored)
    assert any(row.live for row in stored)
    found = {}
    for strategy in EVERY:
        made = training_set(store, strategy, BEGIN, end, parameters=PARAMETERS[strategy], eligible_only=False)
        predictor = Predictor(Registry(store).load(store.models.champions()[str(strategy)]))
        answers = predictor.predict_all(made.frame)
        keys = made.frame.select("instrument", "signal_ts").rows()
        found |= {(str(strategy), *key): answer for key, answer in zip(keys, answers, strict=True)}
    assert subjects(stored) == found.keys()
    assert len(found) > 5
    for row in stored:
        answer = found[row.strategy, row.instrument, row.signal_ts]
        if row.refused is None:
            assert isinstance(answer, Prediction)
            assert np.isclose(answer.probability, row.probability or 0.0, atol=1e-9)


def test_signals_from_before_the_champion_and_bars_without_features_are_left_alone(store: Store) -> None:
    before = predict_span(
        store, SETTINGS, Champions(), BEGIN - timedelta(days=2), BEGIN - timedelta(hours=1), now=BEGIN
    )
    after = predict_span(store, SETTINGS, Champions(), END, END + timedelta(days=1), now=END + timedelta(days=1))
    assert (before, after, rows(store)) == ([], [], [])


def test_a_champion_that_refuses_leaves_the_decision_to_the_rules_and_says_why(store: Store) -> None:
    old = predict_span(store, SETTINGS, Champions(), BEGIN, END, now=built.UNTIL + timedelta(days=61))
    assert {row.refused for row in old} == {"too_old"}
    assert {(row.decision, row.size_factor) for row in old} == {("take", 1.0)}
    assert all("60" in (row.refusal or "") and len(row.inputs) > 60 for row in rows(store))


def test_nothing_is_asked_of_the_bars_while_no_strategy_has_a_champion(postgres_url: str) -> None:
    with Store(postgres_url) as store:
        live = LivePredictions(SETTINGS)
        assert live.after_features(store, END, LiveStep(4, 0.1, (END - BAR,))) == 0
        assert store.metrics.recent(built.UNTIL, "live_predictions").is_empty()
