"""Why a model gave a probability: what each input contributed, by LightGBM's own attribution (TreeSHAP, exact)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crypto_pipeline.arrays.panel import Floats

if TYPE_CHECKING:
    import lightgbm as lgb


class Contributions(NamedTuple):
    """In log-odds before calibration: ``bias`` (mean of training) and, of each row, what each input adds to it.

    ``values``: rows x inputs; a row's values and the bias sum to its raw score.
    """

    values: Floats
    bias: float


class Contribution(NamedTuple):
    """One input of one prediction: what it adds to the log-odds."""

    name: str
    value: float


def contributions(booster: lgb.Booster, x: Floats) -> Contributions:
    """Contributions of the inputs of ``x`` (rows x inputs, float64, NaN for null); at least one row."""
    found = np.asarray(booster.predict(x, pred_contrib=True), dtype=np.float64)
    return Contributions(np.ascontiguousarray(found[:, :-1]), float(found[0, -1]))


def strongest(values: Floats, names: Sequence[str], most: int = 10) -> list[Contribution]:
    """The inputs of one row (``values`` of its contributions) that moved it most, the strongest first; no zeros."""
    order = np.argsort(-np.abs(values), kind="stable")[:most]
    return [Contribution(names[place], float(values[place])) for place in order.tolist() if values[place] != 0]
