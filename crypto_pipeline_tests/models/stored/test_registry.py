"""The registry: one champion whatever happens, every decision with its figures, models exactly as they were trained.

Guards I11 (docs/invariants.md).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pytest

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.models.model import Model
from crypto_pipeline.models.refusal import PredictionRefused, RefusalReason
from crypto_pipeline.models.safeguards.finding import ModelFinding
from crypto_pipeline.models.stored.champions import Champions
from crypto_pipeline.models.stored.promotion import _checks
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.models.training import Trained
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.research.models.registry import DecisionOvertakenError
from crypto_pipeline.store.research.models.rows import ModelDecision, ModelRun
from crypto_pipeline_tests.builders import models as built

SWING = Strategy.SWING
DAY = timedelta(days=1)
HOLDOUT = built.UNTIL, built.UNTIL + 28 * DAY
NOW = HOLDOUT[1] + 3 * DAY


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as opened:
        yield opened


def add(store: Store, model: Model, *findings: ModelFinding, holdout: tuple[datetime, datetime] = HOLDOUT) -> str:
    run = ModelRun(str(model.strategy), "trained", NOW, 1.0, NOW)
    return Registry(store).add(Trained(model, pl.DataFrame(), pl.DataFrame(), findings), holdout, run)


def decided(model_id: str, incumbent: str | None, *, promoted: bool = True, later: int = 0) -> ModelDecision:
    start, end = (moment + later * DAY for moment in HOLDOUT)
    return ModelDecision(
        str(SWING), "test", promoted, NOW + later * DAY, model_id, incumbent, start, end, {"ece": 0.03},
        () if promoted else ("too weak",),
    )  # fmt: skip


def aliases(store: Store) -> dict[str, str]:
    return {str(alias): row.model_id for alias, row in store.models.aliases(str(SWING)).items()}


def test_a_model_comes_back_as_it_was_trained_and_is_stored_once(store: Store) -> None:
    model = built.model()
    assert add(store, model) == model.id == add(store, model)
    assert [row.model_id for row in store.models.every()] == [model.id]
    again = Registry(store).load(model.id)
    assert (again.text, again.sha256, again.to_document()) == (model.text, model.sha256, model.to_document())
    assert aliases(store) == {"challenger": model.id}
    row = store.models.find("challenger", str(SWING))
    assert row == store.models.find(model.id[:6])
    assert (row.status, row.input_names, row.trained_until) == ("candidate", model.inputs, model.trained_until)
    with pytest.raises(StoreError, match="models list"):
        store.models.find("ffff")


def test_what_a_safeguard_blocks_is_stored_and_is_no_challenger(store: Store) -> None:
    add(store, built.model())
    finding = ModelFinding("too_good", "auc", 0.97, 0.85, "AUC 0.97 is too good to be true")
    blocked = add(store, built.model(seed=1), finding)
    assert aliases(store) == {"challenger": built.model().id}
    row = store.models.find(blocked)
    assert (row.status, row.blocked_because) == ("blocked", (finding.message,))
    told = add(store, built.model(seed=2), replace(finding, blocks=False))
    assert aliases(store) == {"challenger": told}


def test_aliases_change_together_and_every_decision_stays(store: Store) -> None:
    first, second, third = (add(store, built.model(seed=seed)) for seed in range(3))
    store.models.decide(decided(first, None))
    assert aliases(store) == {"champion": first, "challenger": third}
    store.models.decide(decided(third, first, promoted=False, later=28))
    assert aliases(store) == {"champion": first, "challenger": third}
    registry = Registry(store)
    registry.force(SWING, third, reason="the old one knows another market", person="Ann")
    assert aliases(store) == {"champion": third, "previous": first}
    registry.rollback(SWING, reason="worse than feared", person="Ann")
    assert aliases(store) == {"champion": first, "previous": third}
    registry.rollback(SWING, reason="not at all", person="Bob")
    assert aliases(store) == {"champion": third, "previous": first}
    told = [(each.kind, each.promoted, each.model_id, each.incumbent_id) for each in store.models.decisions(str(SWING))]
    assert told == [
        ("rollback", True, third, first), ("rollback", True, first, third), ("forced", True, third, first),
        ("test", False, third, first), ("test", True, first, None),
    ]  # fmt: skip
    newest, *_, oldest = store.models.decisions()
    assert (newest.reason, newest.decided_by) == ("not at all", "Bob")
    assert (oldest.figures, oldest.reasons, oldest.holdout_from) == ({"ece": 0.03}, (), HOLDOUT[0])
    assert second in {row.model_id for row in store.models.every(str(SWING))}


def test_a_person_names_a_reason_a_model_of_the_strategy_and_another_one(store: Store) -> None:
    registry, model = Registry(store), add(store, built.model())
    other = add(store, built.model(Strategy.DCA))
    for reason, person in (("", "Ann"), ("because", "  ")):
        with pytest.raises(StoreError, match="reason"):
            registry.force(SWING, model, reason=reason, person=person)
    with pytest.raises(StoreError, match="no model begins"):
        registry.force(SWING, other, reason="because", person="Ann")
    with pytest.raises(StoreError, match="none to go back to"):
        registry.rollback(SWING, reason="because", person="Ann")
    registry.force(SWING, model, reason="because", person="Ann")
    with pytest.raises(StoreError, match="already"):
        registry.force(SWING, model, reason="because", person="Ann")
    assert aliases(store) == {"champion": model}


def test_no_hold_out_is_used_twice_and_no_decision_rests_on_a_champion_that_is_none(store: Store) -> None:
    first, second = (add(store, built.model(seed=seed)) for seed in range(2))
    store.models.decide(decided(first, None, promoted=False))
    for later in (-27, 0, 27):
        with pytest.raises(DecisionOvertakenError, match="hold-out"):
            store.models.decide(decided(second, None, later=later))
    with pytest.raises(DecisionOvertakenError, match="changed"):
        store.models.decide(decided(second, first, later=28))
    with pytest.raises(StoreError, match="no model"):
        store.models.decide(decided("f" * 16, None, later=28))
    assert (aliases(store), len(store.models.decisions())) == ({"challenger": second}, 1)
    store.models.decide(decided(second, None, later=28))
    assert aliases(store) == {"champion": second}


def test_a_test_of_promotion_asks_for_the_checks_of_features_and_of_the_models(store: Store) -> None:
    assert _checks(store, SWING) == {"leak": False, "parity": False}
    for name in ("no_leak:ml_features", "parity:ml_features"):
        store.checks.record_result(name, Timeframe.M15, True, "error", "well")
    assert _checks(store, SWING) == {"leak": True, "parity": True}
    store.checks.record_result("model_parity:swing", None, False, "error", "other answers here")
    assert _checks(store, SWING) == {"leak": True, "parity": False}
    assert _checks(store, Strategy.DCA) == {"leak": True, "parity": True}


def test_of_decisions_at_the_same_time_one_counts(store: Store) -> None:
    ids = [add(store, built.model(seed=seed)) for seed in range(4)]
    outcomes: list[str] = []

    def decide(number: int) -> None:
        try:
            store.models.decide(decided(ids[number], None, later=28 * number))
            outcomes.append("done")
        except DecisionOvertakenError:
            outcomes.append("overtaken")

    threads = [threading.Thread(target=decide, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done", "overtaken", "overtaken", "overtaken"]
    assert len(store.models.decisions()) == 1
    assert list(store.models.champions()) == [str(SWING)]


def test_a_changed_document_is_refused(store: Store) -> None:
    model = add(store, built.model())
    store.models.decide(decided(model, None))
    champions = Champions()
    assert champions.predictor(store, SWING) is not None
    changed = "UPDATE research.models SET document = replace(document, '\"seed\":0', '\"seed\":1')"
    store.connections.run(lambda connection: connection.execute(changed) and None)
    with pytest.raises(PredictionRefused, match="another hash") as refused:
        Registry(store).load(model)
    assert refused.value.reason == RefusalReason.DAMAGED
    for _ in range(2):
        fresh = Champions()
        with pytest.raises(PredictionRefused, match="another hash"):
            fresh.predictor(store, SWING)


def test_requests_go_on_while_the_champion_changes(store: Store) -> None:
    models = {add(store, model): model for model in (built.model(seed=seed, trees=60) for seed in range(3))}
    order = list(models)
    store.models.decide(decided(order[0], None))
    champions, row = Champions(), built.rows(SWING, 1, seed=3).row(0, named=True)
    expected = {model.id: None for model in models.values()}
    stop, answers, troubles = threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            try:
                predictor = champions.predictor(store, SWING)
                assert predictor is not None
                answers.append((predictor.model.id, predictor.predict(row).probability))
            except Exception as error:
                troubles.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number, model_id in enumerate(order[1:]):
        while not any(each == order[number] for each, _ in answers[-3:]):
            pass
        Registry(store).force(SWING, model_id, reason="because", person="Ann")
    while answers[-1][0] != order[-1]:
        pass
    stop.set()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert {each for each, _ in answers} == expected.keys()
    assert len(set(answers)) == 3, "one answer of each model"
