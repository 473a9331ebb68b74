"""Contributions sum to the raw score and name what moved it, against Shapley values by brute force."""

from __future__ import annotations

import json
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest

from crypto_pipeline.models.explain import contributions, strongest
from crypto_pipeline.models.learning.boosting import LearningRows, fit_booster, raw_scores
from crypto_pipeline.models.settings import BoostingSettings

NAMES = ("lr_1", "lr_4", "body", "tier")


def booster() -> Any:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 4))
    x[rng.random(600) < 0.1, 0] = np.nan
    y = (rng.random(600) < 1 / (1 + np.exp(-(np.nan_to_num(x[:, 0]) * x[:, 1] + x[:, 2])))).astype(float)
    return fit_booster(LearningRows(x, y, np.ones(600)), NAMES, BoostingSettings(rounds=8, threads=1, l2=0)), x


def expected(tree: dict[str, Any], row: np.ndarray, known: frozenset[int]) -> float:
    """Value of a tree where only some inputs are known: else by how many rows of training went either way."""
    if "leaf_value" in tree:
        return float(tree["leaf_value"])
    left, right = tree["left_child"], tree["right_child"]
    if tree["split_feature"] in known:
        value = row[tree["split_feature"]]
        if np.isnan(value):
            down = tree["default_left"] if tree["missing_type"] == "NaN" else tree["threshold"] >= 0
        else:
            down = value <= tree["threshold"]
        return expected(left if down else right, row, known)
    count = [each.get("internal_count", each.get("leaf_count")) for each in (left, right)]
    return (count[0] * expected(left, row, known) + count[1] * expected(right, row, known)) / sum(count)


def test_they_are_shapley_values_of_the_trees() -> None:
    model, x = booster()
    trees = [each["tree_structure"] for each in json.loads(json.dumps(model.dump_model()))["tree_info"]]
    found = contributions(model, x[:5])
    for number, row in enumerate(x[:5]):
        for place in range(4):
            others = [each for each in range(4) if each != place]
            value = 0.0
            for size in range(4):
                for chosen in combinations(others, size):
                    gained = sum(
                        expected(tree, row, frozenset({*chosen, place})) - expected(tree, row, frozenset(chosen))
                        for tree in trees
                    )
                    value += factorial(size) * factorial(3 - size) / factorial(4) * gained
            assert found.values[number, place] == pytest.approx(value, abs=1e-9)


def test_they_sum_to_the_raw_score() -> None:
    model, x = booster()
    found = contributions(model, x)
    np.testing.assert_allclose(found.values.sum(axis=1) + found.bias, raw_scores(model, x), atol=1e-9)


def test_the_strongest_come_first_and_zeros_never() -> None:
    found = strongest(np.array([0.1, -0.4, 0.0, 0.4]), NAMES, most=3)
    assert [(each.name, each.value) for each in found] == [("lr_4", -0.4), ("tier", 0.4), ("lr_1", 0.1)]
