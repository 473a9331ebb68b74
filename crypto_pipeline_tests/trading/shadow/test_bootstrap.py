"""The bootstrap of daily differences: against a plain one, and against what its authors derive."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crypto_pipeline.arrays.panel import Floats
from crypto_pipeline.trading.shadow.bootstrap import MEAN_BLOCK, bootstrap_means
from crypto_pipeline_tests.builders.shadow_histories import history


def differences(days: int, seed: int = 3) -> Floats:
    production, variants = history("dependent", days, seed)["dca"]
    return np.column_stack([each.net - production.net for each in variants.values()])


def plain(values: Floats, seed: int, resamples: int) -> Floats:
    """The same, day by day in lists."""
    rng = np.random.default_rng(seed)
    days, columns = values.shape
    starts, begins = rng.integers(0, days, (resamples, days)), rng.random((resamples, days)) < 1 / MEAN_BLOCK
    found = []
    for resample in range(resamples):
        blocks: list[list[int]] = []
        for step in range(days):
            if step == 0 or begins[resample, step]:
                blocks.append([int(starts[resample, step])])
            else:
                blocks[-1].append((blocks[-1][-1] + 1) % days)
        row = []
        for column in range(columns):
            centred = values[:, column] - values[:, column].mean()
            mean = math.fsum(centred[day] for block in blocks for day in block) / days
            apart = [sum(centred[day] - mean for day in block) for block in blocks]
            row.append(mean * days / math.sqrt(sum(each**2 for each in apart)))
        found.append(row)
    return np.array(found)


def test_it_is_the_plain_one() -> None:
    values = differences(37)
    assert bootstrap_means(values, 5, resamples=20).resampled == pytest.approx(plain(values, 5, 20), rel=1e-9)


def test_its_standard_error_is_the_spread_of_resampled_means() -> None:
    values = differences(60)[:, :2]
    found = bootstrap_means(values, 1)
    rng = np.random.default_rng(2)
    means = []
    for _ in range(20_000):
        begins = rng.random(60) < 1 / MEAN_BLOCK
        begins[0] = True
        block = np.cumsum(begins) - 1
        first = np.flatnonzero(begins)[block]
        place = (rng.integers(0, 60, begins.sum())[block] + np.arange(60) - first) % 60
        means.append(values[place].mean(axis=0))
    assert found.error == pytest.approx(np.std(means, axis=0), rel=0.03)


def test_the_same_days_and_seed_give_the_same_answer_and_a_constant_column_none() -> None:
    values = differences(40)
    again, other = (bootstrap_means(values, seed) for seed in (1, 2))
    assert np.array_equal(bootstrap_means(values, 1).resampled, again.resampled)
    assert not np.array_equal(again.p_values(), other.p_values())
    values[:, 0] = 0.0
    assert (bootstrap_means(values, 1).statistic[0], bootstrap_means(values, 1).error[0]) == (0.0, 0.0)


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    held = 0
    for seed in range(100):
        low, high = bootstrap_means(differences(60, seed), seed, resamples=499).intervals()
        held += int(((low <= 0) & (high >= 0)).sum())
    assert 0.90 <= held / 800 <= 0.985
