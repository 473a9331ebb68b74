"""Metrics of probabilities against outcomes, as textbooks define them; oracle: scikit-learn.

``y`` has 0 or 1, ``p`` probabilities, both float64 of the same length. What needs both classes is NaN with one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Floats
from crypto_pipeline.models.judging.bootstrap import mean_interval

#: Bins of equal width for the calibration error and the reliability curve.
BINS = 10
_LEAST = 1e-15


def log_losses(y: Floats, p: Floats) -> Floats:
    """Minus log-likelihood of each outcome, in nats; probabilities are kept 1e-15 away from 0 and 1."""
    kept = np.clip(p, _LEAST, 1 - _LEAST)
    return -np.where(y > 0.5, np.log(kept), np.log1p(-kept))


def brier(y: Floats, p: Floats) -> float:
    """Mean squared error of the probabilities (Brier, 1950)."""
    return float(np.mean((p - y) ** 2)) if len(y) else math.nan


def brier_skill(y: Floats, p: Floats, base: Floats) -> float:
    """1 less the Brier score relative to that of the ``base`` rates: above 0 where the model knows more."""
    reference = brier(y, base)
    return 1 - brier(y, p) / reference if reference > 0 else math.nan


def auc(y: Floats, p: Floats) -> float:
    """Probability that a row of class 1 has a higher ``p`` than one of class 0, ties counting half."""
    positive = y > 0.5
    ones = int(positive.sum())
    zeros = len(y) - ones
    if not ones or not zeros:
        return math.nan
    _, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[place][positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def accuracy(y: Floats, p: Floats) -> float:
    """Share of rows whose probability is on the side of 0.5 that their outcome is on."""
    return float(np.mean((p >= 0.5) == (y > 0.5))) if len(y) else math.nan


def reliability(y: Floats, p: Floats, bins: int = BINS) -> list[dict[str, float]]:
    """Rows, mean probability and share of class 1 of every bin of equal width that has rows, ascending."""
    number = np.minimum((p * bins).astype(np.int64), bins - 1)
    counts = np.bincount(number, minlength=bins)
    said, came = np.bincount(number, p, bins), np.bincount(number, y, bins)
    return [
        {"rows": int(counts[each]), "probability": said[each] / counts[each], "observed": came[each] / counts[each]}
        for each in np.flatnonzero(counts).tolist()
    ]


def calibration_error(y: Floats, p: Floats, bins: int = BINS) -> float:
    """Expected calibration error: mean distance of probability and share over the rows' bins (Guo et al., 2017)."""
    if not len(y):
        return math.nan
    parts = reliability(y, p, bins)
    return float(sum(part["rows"] * abs(part["probability"] - part["observed"]) for part in parts) / len(y))


def calibration_error_by_chance(p: Floats, seed: int, draws: int = 200) -> float:
    """Mean calibration error that probabilities ``p`` would have if each were exactly right.

    Few rows have a large one: 500 about 0.05. What a model's own error is to be compared with.
    """
    if not len(p):
        return math.nan
    rng = np.random.default_rng(seed)
    return float(np.mean([calibration_error((rng.random(len(p)) < p).astype(float), p) for _ in range(draws)]))


def judge(rows: pl.DataFrame, seed: int = 0) -> dict[str, Any]:
    """All metrics of scored rows (see ``scoring.score``), then the same by ``tiers`` and by ``months``."""
    months = rows.with_columns(pl.col("available_at").dt.strftime("%Y-%m").alias("month"))
    return summary(rows, seed) | {
        "tiers": {str(key[0]): summary(part, seed) for key, part in _groups(rows, "tier")},
        "months": {str(key[0]): summary(part, seed) for key, part in _groups(months, "month")},
    }


def summary(rows: pl.DataFrame, seed: int = 0) -> dict[str, Any]:
    """Metrics of scored rows: of all as predictions, and of what would have been taken as trades.

    ``expectancy``: mean net return of a trade taken, ``expectancy_rule`` of all; each with its 95 % interval by
    resampled days. What cannot be said of so few rows is null.
    """
    y, p = rows["y"].cast(pl.Float64).to_numpy(), rows["probability"].to_numpy()
    base, net = rows["base_rate"].to_numpy(), rows["net_return"].to_numpy()
    take = rows["take"].to_numpy()
    day = rows["available_at"].dt.date().to_numpy()
    taken, rule = mean_interval(net[take], day[take], seed), mean_interval(net, day, seed)
    found = {
        "rows": len(y),
        "base_rate": float(y.mean()) if len(y) else math.nan,
        "log_loss": float(log_losses(y, p).mean()) if len(y) else math.nan,
        "log_loss_base": float(log_losses(y, base).mean()) if len(y) else math.nan,
        "brier": brier(y, p),
        "brier_skill": brier_skill(y, p, base),
        "auc": auc(y, p),
        "accuracy": accuracy(y, p),
        "ece": calibration_error(y, p),
        "trades": int(take.sum()),
        "expectancy": taken.mean,
        "expectancy_low": taken.low,
        "expectancy_high": taken.high,
        "win_rate": float(y[take].mean()) if take.any() else math.nan,
        "expectancy_rule": rule.mean,
        "expectancy_rule_low": rule.low,
        "expectancy_rule_high": rule.high,
    }
    return known(found)


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with null where a number is not finite, so that they are JSON."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


def _groups(rows: pl.DataFrame, column: str) -> list[tuple[tuple[object, ...], pl.DataFrame]]:
    return list(rows.sort(column, maintain_order=True).group_by(column, maintain_order=True))
