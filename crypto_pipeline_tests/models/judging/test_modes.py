"""Modes on matured predictions: what each would have earned, and when one is recommended."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from crypto_pipeline.models.judging.modes import compare_modes, recommend

START = datetime(2026, 1, 1, tzinfo=UTC)


def predictions(count: int, knows: float, seed: int = 1, gain: float = 0.05) -> pl.DataFrame:
    """Predictions of a day each; ``knows``: how much of the outcome the probability foretells, 0 to 1."""
    rng = np.random.default_rng(seed)
    won = rng.random(count) < 0.5
    told = np.clip(0.5 + knows * (won - 0.5) + rng.normal(0, 0.02, count), 0.01, 0.99)
    return pl.DataFrame(
        {
            "probability": told,
            "p_star": 0.5,
            "net_return": np.where(won, gain, -0.05),
            "available_at": pl.datetime_range(
                START, START + pl.duration(days=count - 1), "1d", time_zone="UTC", eager=True
            ),
        }
    )


def test_a_model_that_knows_makes_gate_the_best() -> None:
    found = predictions(200, 0.6, gain=0.04)
    results = {one.mode: one for one in compare_modes(found)}
    assert results["off"].trades == results["boost"].trades == 200
    assert results["off"].net.mean == pytest.approx(found["net_return"].mean())
    assert results["gate"].trades == int((found["net_return"] > 0).sum())
    assert results["gate"].net.mean == pytest.approx(found["net_return"].clip(0).mean())
    assert results["off"].net.mean < results["boost"].net.mean < results["gate"].net.mean
    assert results["gate"].better_than_off == 1.0
    assert "consider ml_mode = gate in place of boost" in recommend(list(results.values()), 200, "boost")
    assert recommend(list(results.values()), 200, "gate").startswith("gate, which it is, is better")


def test_a_model_that_knows_nothing_recommends_nothing() -> None:
    recommended = [recommend(compare_modes(predictions(120, 0.0, seed)), 120, "off") for seed in range(40)]
    assert sum("no mode is surely better" in one for one in recommended) >= 34


def test_nothing_is_recommended_before_enough_have_matured() -> None:
    results = compare_modes(predictions(99, 0.6))
    assert recommend(results, 99, "boost") == "99 predictions have matured; modes are compared from 100 on"
