"""Safeguards of results, splits, age, and of models in use."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from crypto_pipeline.models.safeguards.age import ModelAge, age_of
from crypto_pipeline.models.safeguards.matured import LEAST_MATURED, input_drift, matured_findings
from crypto_pipeline.models.safeguards.overlap import overlapping
from crypto_pipeline.models.safeguards.too_good import too_good
from crypto_pipeline_tests.builders.model_events import Market, events

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("metric", "value", "rows", "found"),
    [
        ("auc", 0.86, 200, True), ("auc", 0.85, 200, False), ("auc", 0.99, 20, False), ("auc", None, 200, False),
        ("accuracy", 0.96, 200, True), ("accuracy", 0.95, 200, False),
    ],
)  # fmt: skip
def test_too_good_results(metric: str, value: float | None, rows: int, found: bool) -> None:
    findings = too_good({"out-of-fold": {metric: value, "rows": rows}}, {"body": 0.6, "lr_1": 0.4})
    assert [(each.subject, each.blocks) for each in findings] == [(metric, True)] * found


def test_one_input_with_most_of_the_importance() -> None:
    assert [each.subject for each in too_good({}, {"body": 0.61, "lr_1": 0.39})] == ["body"]


def test_overlapping_labels_are_counted_by_split() -> None:
    frame = events(Market(instruments=12, days=30))
    half = np.arange(frame.height // 2)
    later = np.arange(frame.height // 2, frame.height)
    ended = half[(frame[half]["label_end_ts"] < frame["available_at"][int(later[0])]).to_numpy()]
    assert overlapping(frame, {"fold 1": (ended, later)}) == []
    (found,) = overlapping(frame, {"fold 1": (ended, later), "fold 2": (half, later)})
    assert (found.subject, found.found, found.blocks) == ("fold 2", len(half) - len(ended), True)


@pytest.mark.parametrize(
    ("days", "age"),
    [(31, ModelAge.FRESH), (45, ModelAge.FRESH), (45.01, ModelAge.OLD), (60, ModelAge.OLD), (60.01, ModelAge.TOO_OLD)],
)
def test_age(days: float, age: ModelAge) -> None:
    assert age_of(NOW - timedelta(days=days), NOW) is age


def predictions(count: int, bias: float, sharpness: float = 0.3, seed: int = 0) -> pl.DataFrame:
    """Matured predictions over 40 days whose probabilities are wrong by ``bias``."""
    rng = np.random.default_rng(seed)
    truth = np.clip(0.5 + sharpness * rng.uniform(-1, 1, count), 0.05, 0.95)
    return pl.DataFrame(
        {
            "available_at": [NOW + timedelta(hours=float(each)) for each in rng.uniform(0, 960, count)],
            "y": (rng.random(count) < truth).astype(np.int8),
            "probability": np.clip(truth + bias, 0.01, 0.99),
            "base_rate": 0.5,
        }
    )


@pytest.mark.parametrize(
    ("count", "bias", "checks"),
    [
        (800, 0.0, []), (800, 0.15, ["calibration_drift"]), (800, -0.15, ["calibration_drift"]),
        (800, 0.4, ["calibration_drift", "brier_skill"]), (LEAST_MATURED - 1, 0.4, []),
    ],
)  # fmt: skip
def test_matured_predictions(count: int, bias: float, checks: list[str]) -> None:
    found = matured_findings(predictions(count, bias))
    assert [each.check for each in found] == checks
    assert not any(each.blocks for each in found)


def test_honest_predictions_seldom_alarm() -> None:
    assert sum(bool(matured_findings(predictions(300, 0.0, seed=seed))) for seed in range(40)) <= 2


def test_an_input_that_moves_away_from_its_past_has_drifted() -> None:
    rng = np.random.default_rng(0)
    days = np.sort(rng.uniform(0, 90, 6_000))
    frame = pl.DataFrame(
        {
            "available_at": [NOW + timedelta(days=float(day)) for day in days],
            "body": rng.normal(size=6_000) + 2.0 * (days > 84),
            "lr_1": rng.normal(size=6_000),
            "tier": "mid",
        }
    )
    last = date(2026, 6, 1) + timedelta(days=89)
    assert [each.subject for each in input_drift(frame, ("body", "lr_1", "tier"), last)] == ["body"]
    assert input_drift(frame.clear(), ("body",), last) == []
