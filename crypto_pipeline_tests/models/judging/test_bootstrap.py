"""Intervals of means over days: they cover as often as they say where days differ, and rows alone would not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crypto_pipeline.models.judging.bootstrap import mean_interval, resampled_means, share_below_zero, share_higher


def clustered(seed: int, days: int = 60, each: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose day has a value of its own, with a mean of 0, and their days."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), each)
    return rng.normal(size=days)[day] + 0.5 * rng.normal(size=days * each), day


def test_intervals_by_days_cover_and_by_rows_would_not() -> None:
    by_days = by_rows = 0
    for seed in range(50):
        values, day = clustered(seed)
        by_days += mean_interval(values, day, seed).low <= 0 <= mean_interval(values, day, seed).high
        alone = np.arange(len(values))
        by_rows += mean_interval(values, alone, seed).low <= 0 <= mean_interval(values, alone, seed).high
    assert by_days >= 43
    assert by_rows <= 30


def test_a_true_mean_of_zero_is_below_it_half_of_the_time() -> None:
    shares = [share_below_zero(*clustered(seed), seed) for seed in range(100)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.12)
    assert np.mean(np.array(shares) >= 0.95) <= 0.12


def test_the_order_of_rows_does_not_matter_and_the_same_seed_draws_the_same() -> None:
    values, day = clustered(1)
    order = np.random.default_rng(0).permutation(len(day))
    assert resampled_means(values, day, 7).tobytes() == resampled_means(values[order], day[order], 7).tobytes()
    assert resampled_means(values, day, 7).tobytes() != resampled_means(values, day, 8).tobytes()


def test_what_has_no_value_does_not_count() -> None:
    values, day = clustered(2)
    holes = np.where(np.arange(len(values)) % 3 == 0, np.nan, values)
    assert share_higher(holes + 5, values, day, 0) == 1
    assert share_higher(values, holes + 5, day, 0) == 0
    assert math.isnan(share_higher(values * np.nan, values, day, 0))


def test_too_few_days_have_no_interval() -> None:
    assert mean_interval(np.array([1.0, 3.0]), np.array([1, 1]), 0).mean == 2
    assert math.isnan(mean_interval(np.array([1.0, 3.0]), np.array([1, 1]), 0).low)
    assert math.isnan(share_below_zero(np.array([1.0]), np.array([1]), 0))
    assert math.isnan(mean_interval(np.zeros(0), np.zeros(0), 0).mean)
