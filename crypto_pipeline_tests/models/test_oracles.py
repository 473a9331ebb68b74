"""The numbers of models against other people's: scikit-learn, purgedcv, and trees walked by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.calibration import ISOTONIC_ROWS, fit
from crypto_pipeline.models.events import milliseconds
from crypto_pipeline.models.inputs import input_matrix
from crypto_pipeline.models.judging.metrics import accuracy, auc, brier, log_losses, reliability
from crypto_pipeline.models.learning.boosting import load_booster, raw_scores
from crypto_pipeline.models.splits import fold
from crypto_pipeline.models.training import Trained, train
from crypto_pipeline_tests.builders.model_events import Market, events, settings_of
from crypto_pipeline_tests.oracles.foreign import ask
from crypto_pipeline_tests.oracles.splits import random_events
from crypto_pipeline_tests.oracles.trees import raw_score

_CASES = 200


def scikit_learn(question: Any) -> Any:
    return ask("CRYPTO_PIPELINE_ORACLE_MODELS", "scikit_learn_program.py", question)


@pytest.mark.parametrize("ties", [False, True])
def test_metrics_and_the_reliability_curve_are_those_of_scikit_learn(ties: bool) -> None:
    rng = np.random.default_rng(8)
    p = rng.integers(0, 40, 3_000) / 40 if ties else rng.uniform(0.001, 0.999, 3_000)
    p = np.clip(p, 0.01, 0.99)
    y = (rng.random(3_000) < p**1.3).astype(float)
    expected = scikit_learn({"metrics": {"y": y.tolist(), "p": p.tolist()}})["metrics"]
    ours = {"log_loss": log_losses(y, p).mean(), "brier": brier(y, p), "auc": auc(y, p), "accuracy": accuracy(y, p)}
    assert ours == pytest.approx({name: expected[name] for name in ours}, rel=1e-12)
    if not ties:  # values on the edge of a bin belong to the lower one there
        curve = reliability(y, p)
        assert [part["observed"] for part in curve] == pytest.approx(expected["observed"], rel=1e-12)
        assert [part["probability"] for part in curve] == pytest.approx(expected["said"], rel=1e-12)


@pytest.mark.parametrize(("kind", "rows"), [("sigmoid", ISOTONIC_ROWS - 1), ("isotonic", 4_000)])
def test_calibrators_are_those_of_scikit_learn_within_their_bounds(kind: str, rows: int) -> None:
    rng = np.random.default_rng(5)
    raw, weight = np.round(rng.normal(size=rows), 2), rng.uniform(0.2, 2, rows)
    y = (rng.random(rows) < 1 / (1 + np.exp(-0.8 * raw + 0.3))).astype(float)
    at = np.linspace(-4, 4, 101)
    given = {"raw": raw.tolist(), "y": y.tolist(), "weight": weight.tolist(), "at": at.tolist()}
    found = fit(raw, y, weight)
    expected = np.clip(scikit_learn({kind: given})[kind], found.lowest, 1 - found.lowest)
    np.testing.assert_allclose(found.apply(at), expected, atol=1e-5 if kind == "sigmoid" else 1e-12)


def test_train_rows_are_those_of_purgedcv() -> None:
    cases, ours = [], []
    for seed in range(_CASES):
        rng = np.random.default_rng([5, seed])
        frame = random_events(rng)
        known, ends = milliseconds(frame, "available_at"), milliseconds(frame, "label_end_ts")
        first, last = sorted(rng.integers(0, frame.height, 2).tolist())
        start, end = frame["available_at"][first], frame["available_at"][last] + timedelta(milliseconds=1)
        after, embargo = bool(seed % 2), int(rng.integers(0, 4)) * 30 * 60_000
        found = fold(frame, start, end, after=after, embargo=timedelta(milliseconds=embargo))
        if ends[found.test].max() <= known[last]:  # there the test ends with its last label, here with its span
            continue
        ours.append(found.train.tolist())
        cases.append({"known": known.tolist(), "ends": ends.tolist(), "test": found.test.tolist(), "after": after,
                      "embargo": embargo})  # fmt: skip
    theirs = scikit_learn({"splits": cases})["splits"]
    assert len(ours) > _CASES / 2
    assert theirs == ours


def test_predictions_are_the_sums_of_the_leaves_to_the_bit() -> None:
    market = Market(signal=0.1, noise=20)
    frame = events(market)
    found = train(frame, Strategy.SWING, settings_of(market, 40))
    assert isinstance(found, Trained)
    x = input_matrix(frame.sample(200, seed=1), found.model.inputs)
    rng = np.random.default_rng(2)
    x[rng.random(x.shape) < 0.1] = np.nan
    x[rng.random(x.shape) < 0.02] = 0.0
    expected = [raw_score(found.model.text, row) for row in x.tolist()]
    assert raw_scores(load_booster(found.model.text), x).tolist() == expected
