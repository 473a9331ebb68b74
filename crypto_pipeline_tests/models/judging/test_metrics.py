"""Metrics against their definitions, spelled out; `crypto_pipeline_tests/models/test_oracles.py` has scikit-learn."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from crypto_pipeline.models.judging.metrics import (
    accuracy,
    auc,
    brier,
    brier_skill,
    calibration_error,
    calibration_error_by_chance,
    judge,
    log_losses,
    reliability,
    summary,
)

Y = np.array([1.0, 0, 1, 1, 0, 0, 1, 0])
P = np.array([0.9, 0.2, 0.6, 0.6, 0.6, 0.4, 0.05, 0.0])


def test_values_by_hand() -> None:
    pairs = [(a, b) for a in P[Y == 1] for b in P[Y == 0]]
    assert auc(Y, P) == pytest.approx(np.mean([(a > b) + (a == b) / 2 for a, b in pairs]))
    assert brier(Y, P) == pytest.approx(sum((p - y) ** 2 for p, y in zip(P, Y, strict=True)) / 8)
    assert brier_skill(Y, P, np.full(8, 0.5)) == pytest.approx(1 - brier(Y, P) / 0.25)
    assert log_losses(Y, P)[[0, 1]].tolist() == pytest.approx([-math.log(0.9), -math.log(0.8)])
    assert accuracy(Y, P) == 6 / 8
    assert calibration_error(np.array([1.0, 0, 1, 1]), np.array([0.51, 0.59, 0.91, 0.95])) == pytest.approx(
        (2 * abs(0.55 - 0.5) + 2 * abs(0.93 - 1)) / 4
    )


def test_the_edges_of_probability() -> None:
    found = reliability(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert [(part["rows"], part["probability"], part["observed"]) for part in found] == [(1, 0, 0), (1, 1, 1)]
    assert np.isfinite(log_losses(np.array([0.0, 1.0]), np.array([1.0, 0.0]))).all()


def test_one_class_or_no_rows_say_nothing() -> None:
    assert math.isnan(auc(np.ones(3), P[:3]))
    assert summary(rows(4).clear())["log_loss"] is None
    assert summary(rows(4).with_columns(take=pl.lit(value=False)))["expectancy"] is None


def test_exact_probabilities_have_a_calibration_error_by_chance_that_falls_with_rows() -> None:
    rng = np.random.default_rng(3)
    few, many = (calibration_error_by_chance(rng.uniform(0.2, 0.8, count), 0) for count in (100, 10_000))
    assert 0.08 < few < 0.15
    assert many < 0.02


def rows(count: int) -> pl.DataFrame:
    rng = np.random.default_rng(count)
    begin = datetime(2026, 1, 20, tzinfo=UTC)
    y = rng.integers(0, 2, count)
    return pl.DataFrame(
        {
            "available_at": [begin + timedelta(hours=6 * each) for each in range(count)],
            "tier": rng.choice(["large", "mid", "meme"], count),
            "y": y.astype(np.int8),
            "net_return": np.where(y, 0.02, -0.01),
            "probability": rng.uniform(0.1, 0.9, count),
            "base_rate": 0.5,
            "take": rng.random(count) < 0.5,
        }
    )


def test_judge_splits_by_tier_and_month_and_counts_every_row_once() -> None:
    frame = rows(200)
    found = judge(frame)
    assert set(found["tiers"]) == {"large", "mid", "meme"}
    assert list(found["months"]) == ["2026-01", "2026-02", "2026-03"]
    for part in ("tiers", "months"):
        assert sum(each["rows"] for each in found[part].values()) == 200
        assert sum(each["trades"] for each in found[part].values()) == frame["take"].sum()
    taken = frame.filter("take")
    assert found["expectancy"] == pytest.approx(taken["net_return"].mean())
    assert found["win_rate"] == pytest.approx(taken["y"].mean())
    assert found["expectancy_low"] < found["expectancy"] < found["expectancy_high"]
