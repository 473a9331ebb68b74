"""Calibrators against what they should find, and the same answer to the bit, alone or among others."""

from __future__ import annotations

import json

import numpy as np
import pytest

from crypto_pipeline.arrays.panel import Floats
from crypto_pipeline.models.calibration import ISOTONIC_ROWS, Calibrator, fit


def scored(rows: int, slope: float = 0.7, intercept: float = -0.4, seed: int = 1) -> tuple[Floats, Floats, Floats]:
    """Raw scores, outcomes whose log-odds are ``slope * raw + intercept``, and weights."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=rows)
    y = (rng.random(rows) < 1 / (1 + np.exp(-(slope * raw + intercept)))).astype(float)
    return raw, y, rng.uniform(0.5, 1.5, rows)


def test_a_sigmoid_finds_the_slope_and_the_intercept() -> None:
    parts = [fit(*scored(ISOTONIC_ROWS - 1, seed=seed)) for seed in range(40)]
    assert {part.kind for part in parts} == {"sigmoid"}
    assert np.mean([part.slope for part in parts]) == pytest.approx(0.7, abs=0.04)
    assert np.mean([part.intercept for part in parts]) == pytest.approx(-0.4, abs=0.04)


def test_from_a_thousand_rows_on_it_is_isotonic_and_close_to_the_truth() -> None:
    raw, y, weight = scored(20_000)
    found = fit(raw, y, weight)
    assert found.kind == "isotonic"
    assert np.all(np.diff(found.x) > 0)
    assert np.all(np.diff(found.y) >= 0)
    at = np.linspace(-2, 2, 50)
    assert np.abs(found.apply(at) - 1 / (1 + np.exp(-(0.7 * at - 0.4)))).max() < 0.06


def test_isotonic_is_the_best_of_all_rising_steps_by_brute_force() -> None:
    """The textbook formula of every step: max over starts of min over ends of the weighted mean between them."""
    rng = np.random.default_rng(4)
    raw = rng.integers(0, 12, ISOTONIC_ROWS).astype(float)
    y, weight = (rng.random(len(raw)) < 0.2 + raw / 30).astype(float), rng.uniform(0.1, 2, len(raw))
    levels = np.unique(raw)
    mass = np.array([weight[raw == level].sum() for level in levels])
    won = np.array([(weight * y)[raw == level].sum() for level in levels])
    expected = [
        max(min(won[a : b + 1].sum() / mass[a : b + 1].sum() for b in range(k, len(levels))) for a in range(k + 1))
        for k in range(len(levels))
    ]
    np.testing.assert_allclose(fit(raw, y, weight).apply(levels), expected, rtol=1e-12)


@pytest.mark.parametrize("rows", [200, 5_000])
def test_one_value_has_the_same_answer_as_among_others_and_after_json(rows: int) -> None:
    raw, y, weight = scored(rows)
    found = fit(raw, y, weight)
    again = Calibrator.from_document(json.loads(json.dumps(found.to_document())))
    together = found.apply(raw)
    assert [again.apply(raw[place : place + 1])[0] for place in range(rows)] == together.tolist()
    assert again == found


@pytest.mark.parametrize("rows", [40, 3_000])
def test_n_rows_never_show_more_than_one_in_n_plus_two(rows: int) -> None:
    raw = np.linspace(-5, 5, rows)
    found = fit(raw, (raw > 0).astype(float), np.ones(rows)).apply(np.array([-1e300, -50.0, 50.0, 1e300]))
    assert found.min() == 1 / (rows + 2)
    assert found.max() == 1 - 1 / (rows + 2)


@pytest.mark.parametrize("rows", [300, 3_000])
def test_scores_that_are_the_wrong_way_round_give_one_probability(rows: int) -> None:
    raw, y, weight = scored(rows, slope=-3)
    answers = fit(raw, y, weight).apply(raw)
    assert np.ptp(answers) < 0.02
    assert answers.mean() == pytest.approx((weight * y).sum() / weight.sum(), abs=0.02)


def test_one_class_alone_and_no_rows() -> None:
    assert fit(np.arange(50.0), np.zeros(50), np.ones(50)).apply(np.array([3.0]))[0] <= 2 / 52
    with pytest.raises(ValueError, match="no rows"):
        fit(np.zeros(0), np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="NaN"):
        Calibrator("sigmoid", 10, slope=1.0).apply(np.array([np.nan]))
