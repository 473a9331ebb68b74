"""A silence is told when a strategy's own history makes it improbable, and only then."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crypto_pipeline.trading.scanning.silence import IMPROBABLE, silence


def test_the_probability_is_that_of_the_beta_binomial() -> None:
    found = [True, False, True, False, False] * 6
    for days in (1, 3, 8):
        expected = math.prod((18.5 + k) / (31 + k) for k in range(days))
        assert silence(found, days).probability == pytest.approx(expected)
    assert silence(found, 0).probability == 1


def test_a_strategy_with_a_setup_a_day_is_told_of_within_days_and_a_rare_one_is_not() -> None:
    assert not silence([True] * 30, 1).improbable
    assert silence([True] * 30, 4).improbable
    assert not silence(([True] + [False] * 9) * 9, 20).improbable
    assert not silence([True] * 13, 30).improbable  # too short a history
    assert not silence([False] * 90, 90).improbable  # it never found any


def test_a_silence_that_was_seen_before_is_not_told() -> None:
    found = [*[True] * 60, *[False] * 9, *[True] * 20]
    assert silence(found, 9).probability < IMPROBABLE
    assert not silence(found, 9).improbable
    assert silence(found, 10).improbable


def test_false_alarms_are_as_rare_as_they_are_meant_to_be() -> None:
    """Days with setups by chance alone, at random rates: how often any moment of the next 30 days would be told."""
    rng = np.random.default_rng(7)
    told = 0
    for _ in range(1_000):
        rate = rng.uniform(0.05, 0.95)
        history = (rng.random(60) < rate).tolist()
        days = rng.random(30) < rate
        quiet = 0
        for day in days.tolist():
            quiet = 0 if day else quiet + 1
            if quiet and silence(history, quiet).improbable:
                told += 1
                break
    assert told <= 20
