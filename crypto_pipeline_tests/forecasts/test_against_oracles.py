"""Exponential smoothing, pinball loss, coverage and conformal quantiles against packages of others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crypto_pipeline.forecasts import ets
from crypto_pipeline.forecasts.conformal import calibrate
from crypto_pipeline.forecasts.horizons import Walk
from crypto_pipeline.forecasts.scoring import covered, pinball
from crypto_pipeline_tests.builders.forecast_market import random_walk
from crypto_pipeline_tests.oracles.foreign import ask

SEEDS = range(6)


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    series = [np.log(random_walk(300, seed, 0.01, 0.002 * (seed % 3))).tolist() for seed in SEEDS]
    trend = (4.6 + 0.002 * np.arange(300) + rng.normal(0, 0.005, 300)).tolist()
    quantiles = np.sort(rng.normal(0, 1, (200, 5)), axis=1)
    return {
        "series": [*series, trend],
        "seen": rng.normal(0, 1, 200).tolist(),
        "quantiles": quantiles.tolist(),
        "scores": np.abs(rng.normal(0, 1, 99)).tolist(),
    }


@pytest.fixture(scope="module")
def answers(given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = ask("CRYPTO_PIPELINE_ORACLE_FORECASTS", "forecast_oracles.py", given)
    return found


def test_the_recursion_forecasts_what_statsforecast_does(given: dict[str, Any], answers: dict[str, Any]) -> None:
    shapes = set()
    for row, theirs in zip(given["series"], answers["ets"], strict=True):
        par = [np.nan if each is None else each for each in theirs["par"]]
        found = ets.parameters_of({"par": par, "components": theirs["components"]})
        model = ets.EtsModel(*(np.array([each]) for each in found))
        values = np.array(row)[None, :]
        level, trend = ets.states(model, values)
        ours = ets.path(model.phi, level[:, -1:], trend[:, -1:], np.arange(1, 25)[None, :])[0, 0]
        np.testing.assert_allclose(ours, theirs["path"], rtol=1e-9)
        before = ets.path(model.phi, level[:, :-1], trend[:, :-1], np.ones((299, 1), np.int64))[0, :, 0]
        np.testing.assert_allclose(before, theirs["fitted"][1:], rtol=1e-9)
        shapes.add(theirs["components"])
    assert len(shapes) >= 2, "with a trend and without"


def test_losses_and_coverage_are_those_of_scoringrules_and_mapie(
    given: dict[str, Any], answers: dict[str, Any]
) -> None:
    seen, quantiles = np.array(given["seen"]), np.array(given["quantiles"])
    np.testing.assert_allclose(pinball(seen, quantiles), answers["pinball"], rtol=1e-12)
    assert covered(seen, quantiles)[0.80].mean() == pytest.approx(answers["mapie"]["share"])


def test_conformal_quantiles_are_those_of_mapie(given: dict[str, Any], answers: dict[str, Any]) -> None:
    """Errors that are as often above as below by the same amounts: the 80 % interval is split conformal prediction."""
    scores = np.array(given["scores"])
    errors = np.concatenate([scores, -scores])[None, :, None]
    count = errors.shape[1]
    targets = np.append(np.arange(1, count), -1)[:, None]
    errors[:, -1] = np.nan
    found = calibrate(errors, np.arange(count), targets, Walk(count, count, count, 0.0))
    low, high = answers["mapie"]["widths"]
    assert low == pytest.approx(-high)
    position = np.searchsorted(np.sort(scores), [found.offsets[0, 0, 3], high])
    assert abs(position[0] - position[1]) <= 1, "one error of the last origin is not known yet"
