"""The fit by LightGBM, its calibration, and raw scores from the model's text.

One seed, a fixed number of threads and rows in order: the same rows give the same text in any process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crypto_pipeline.arrays.panel import Floats, Ints
from crypto_pipeline.models.calibration import Calibrator, fit
from crypto_pipeline.models.settings import BoostingSettings

if TYPE_CHECKING:
    import lightgbm as lgb


@dataclass(frozen=True, slots=True)
class LearningRows:
    """What is learned from: ``x`` (rows x inputs, float64, NaN for null), outcomes and weights, in order of time."""

    x: Floats
    y: Floats
    weight: Floats

    def take(self, rows: Ints) -> LearningRows:
        """A copy of some rows."""
        return LearningRows(self.x[rows], self.y[rows], self.weight[rows])


@dataclass(frozen=True, slots=True)
class Fitted:
    """A booster with its calibrator."""

    booster: lgb.Booster
    calibrator: Calibrator

    def probabilities(self, x: Floats) -> Floats:
        """Calibrated probabilities of rows of inputs."""
        return self.calibrator.apply(raw_scores(self.booster, x))


def fit_booster(rows: LearningRows, names: Sequence[str], settings: BoostingSettings) -> lgb.Booster:
    """A booster of as many trees as the settings say; nothing is stopped early, so nothing is chosen by looking."""
    import lightgbm as lgb  # late: it takes a second to import

    parameters = boosting_parameters(settings, len(rows.y))
    data = lgb.Dataset(rows.x, rows.y, weight=_scaled(rows.weight), feature_name=list(names), params=parameters)
    return lgb.train(parameters, data, num_boost_round=settings.rounds)


def fit_calibrated(
    rows: LearningRows, fits: Ints, calibrates: Ints, names: Sequence[str], settings: BoostingSettings
) -> Fitted:
    """A booster of the rows ``fits``, calibrated on the rows ``calibrates``, which it has not seen."""
    booster = fit_booster(rows.take(fits), names, settings)
    held = rows.take(calibrates)
    return Fitted(booster, fit(raw_scores(booster, held.x), held.y, _scaled(held.weight)))


def _scaled(weight: Floats) -> Floats:
    """Weights of mean 1. Summed exactly, so that no processor gives another last bit."""
    return weight / (math.fsum(weight) / len(weight))


def load_booster(text: str) -> lgb.Booster:
    """The booster of a model text."""
    import lightgbm as lgb

    return lgb.Booster(model_str=text)


def raw_scores(booster: lgb.Booster, x: Floats) -> Floats:
    """Raw scores (log-odds) of rows of inputs."""
    if not len(x):
        return x[:, 0].copy()
    return np.asarray(booster.predict(x, raw_score=True), dtype=np.float64)


def boosting_parameters(settings: BoostingSettings, rows: int) -> dict[str, Any]:
    """Parameters of LightGBM for so many rows."""
    return {
        "objective": "binary",
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.leaves,
        "max_depth": settings.depth,
        "min_data_in_leaf": max(settings.least_in_leaf, round(rows * settings.least_share_in_leaf)),
        "lambda_l2": settings.l2,
        "feature_fraction": settings.feature_fraction,
        "bagging_fraction": settings.bagging_fraction,
        "bagging_freq": 1,
        "max_bin": settings.bins,
        "seed": settings.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": settings.threads,
        "verbosity": -1,
    }


#: Says which step is done and how much of all: a name and a share from 0 to 1.
Progress = Callable[[str, float], None]
