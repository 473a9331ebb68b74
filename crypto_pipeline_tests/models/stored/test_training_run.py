"""Training from the store: in a process of its own, repeatable to the byte, and every outcome is stored.

Guards I11 (docs/invariants.md).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from crypto_pipeline.models.predictor import Prediction, Predictor
from crypto_pipeline.models.settings import Minima
from crypto_pipeline.models.stored import training_process
from crypto_pipeline.models.stored.promotion import decide_promotion
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.models.stored.training_process import TrainingFailedError
from crypto_pipeline.models.stored.training_run import TrainingOrder, reproduced, train_here, train_stored
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.trained_market import NOW, SETTINGS, STRATEGY, TRAINING, store_labelled_market
from crypto_pipeline_tests.builders.training_work import die, take


@pytest.fixture(scope="module")
def database(new_database) -> Iterator[str]:
    with new_database("training_in_tests") as url, Store(url) as store:
        store_labelled_market(store)
        yield url


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with Store(database) as opened:
        yield opened


def test_a_model_is_trained_stored_made_again_and_judged(store: Store) -> None:
    steps: list[tuple[str, float]] = []
    made = train_stored(
        store, STRATEGY, SETTINGS, now=NOW, training=TRAINING, progress=lambda step, share: steps.append((step, share))
    )
    assert (made.status, made.blocked_because) == ("trained", ())
    assert [share for _, share in steps] == sorted(share for _, share in steps)
    assert steps[-1][1] == 1.0
    row = store.models.find("challenger", str(STRATEGY))
    run = store.models.newest_run(str(STRATEGY))
    assert run is not None
    assert (row.model_id, run.model_id, run.status, run.market_time) == (made.model_id, made.model_id, "trained", NOW)
    assert row.trained_until <= row.holdout_from < row.holdout_until <= NOW
    model = Registry(store).load(row.model_id)
    again = reproduced(store, model, SETTINGS)
    assert (again.sha256, again.text) == (model.sha256, model.text)
    rows = [dict(zip(model.inputs, values, strict=True)) for values in _probes(model.probes)]
    ours, theirs = Predictor(model), Predictor(again)
    answers = [ours.predict(each) for each in rows]
    assert answers == [theirs.predict(each) for each in rows]
    assert all(isinstance(each, Prediction) for each in answers)

    first = decide_promotion(store, STRATEGY, SETTINGS, now=NOW)
    assert (first.status, first.decision is not None) == ("kept", True)
    stored = store.models.decisions(str(STRATEGY))[0]
    assert (stored.model_id, stored.promoted, stored.holdout_from) == (row.model_id, False, row.holdout_from)
    assert "the check leak has not passed" in stored.reasons
    assert stored.figures["challenger"]["rows"] + stored.figures["refused_events"] == stored.figures["holdout_events"]
    assert {"log_loss_lower", "expectancy", "ece", "champion_unusable"} <= stored.figures.keys()
    second = decide_promotion(store, STRATEGY, SETTINGS, now=NOW)
    assert (second.status, second.next_at is not None) == ("not_due", True)
    assert len(store.models.decisions()) == 1


def _probes(probes: Any) -> list[list[Any]]:
    from crypto_pipeline.models.inputs import TIER_NUMBERS

    tiers = list(TIER_NUMBERS)
    values = [[None if np.isnan(value) else value for value in row] for row in probes.tolist()[:20]]
    return [[*row[:-1], tiers[int(row[-1])]] for row in values]


def test_too_little_data_is_an_outcome_with_what_is_missing(store: Store) -> None:
    known = len(store.models.every())
    order = TrainingOrder(store.url, STRATEGY, SETTINGS, NOW, replace(TRAINING, minima=Minima(events=10_000)))
    made = train_here(order, lambda _step, _share: None)
    assert (made.status, made.model_id, len(store.models.every())) == ("insufficient_data", None, known)
    run = store.models.newest_run(str(STRATEGY))
    assert run is not None
    assert (run.status, run.sufficient_at) == ("insufficient_data", made.sufficient_at)
    lacking = {each["what"]: (each["have"], each["needed"]) for each in run.missing}
    assert lacking["training events"][1] == 10_000
    assert all(have < needed for have, needed in lacking.values())


def test_a_training_that_fails_is_stored_and_told(store: Store) -> None:
    known = store.models.aliases(str(STRATEGY))
    with pytest.raises(TrainingFailedError, match="nonsense"):
        train_stored(store, STRATEGY, SETTINGS, training=replace(TRAINING, inputs=("nonsense",)))
    run = store.models.newest_run(str(STRATEGY))
    assert run is not None
    assert (run.status, "nonsense" in (run.error or "")) == ("failed", True)
    assert store.models.aliases(str(STRATEGY)) == known


def test_a_training_has_bounded_memory_and_its_end_is_told() -> None:
    steps: list[str] = []
    with pytest.raises(TrainingFailedError, match="MemoryError"):
        training_process.run(take, training_process.MEMORY, lambda step, _share: steps.append(step))
    assert steps == ["taking"]
    with pytest.raises(TrainingFailedError, match="was killed"):
        training_process.run(die, int(signal.SIGKILL), lambda _step, _share: None)
