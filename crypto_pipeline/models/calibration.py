"""Calibration: from the raw score of a model (log-odds) to a probability that means what it says.

Under 1,000 rows a sigmoid (Platt, 1999, with his regularised targets; Newton's method after Lin, Lin and Weng, 2007),
else isotonic regression (pool adjacent violators) with straight lines between its steps. Either way the answer is kept
within ``[1/(n+2), 1-1/(n+2)]`` of the n rows it was fitted on: that many rows cannot show more. Plain numpy: a
calibrator is JSON, and the same value gives the same answer to the bit, alone or among others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from crypto_pipeline.arrays.panel import Floats

#: Fewer rows than this are calibrated by a sigmoid.
ISOTONIC_ROWS = 1_000
_STEPS, _PRECISION = 100, 1e-12


@dataclass(frozen=True, slots=True)
class Calibrator:
    """``kind`` sigmoid: ``1 / (1 + exp(-(slope * raw + intercept)))``; isotonic: straight lines through the points.

    ``rows``: how many it was fitted on. ``x`` ascends, ``y`` does not fall.
    """

    kind: str
    rows: int
    slope: float = 0.0
    intercept: float = 0.0
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    @property
    def lowest(self) -> float:
        """The smallest probability that it gives; the largest is 1 less this."""
        return 1.0 / (self.rows + 2)

    def apply(self, raw: Floats) -> Floats:
        """Probabilities (float64) of raw scores, in the same order; NaN raises ValueError."""
        if np.isnan(raw).any():
            raise ValueError("a raw score is NaN")
        if self.kind == "isotonic":
            found = np.interp(raw, np.array(self.x), np.array(self.y))
        else:  # one value at a time: the result of numpy's exp may depend on its place among others
            found = np.fromiter((_sigmoid(self.slope * value + self.intercept) for value in raw.tolist()), np.float64)
        clipped: Floats = np.clip(found, self.lowest, 1.0 - self.lowest)
        return clipped

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        shared: dict[str, Any] = {"kind": self.kind, "rows": self.rows}
        if self.kind == "isotonic":
            return shared | {"x": list(self.x), "y": list(self.y)}
        return shared | {"slope": self.slope, "intercept": self.intercept}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """From ``to_document``; ValueError names an unknown kind."""
        kind, rows = document["kind"], int(document["rows"])
        if kind == "isotonic":
            return cls(kind, rows, x=tuple(map(float, document["x"])), y=tuple(map(float, document["y"])))
        if kind == "sigmoid":
            return cls(kind, rows, slope=float(document["slope"]), intercept=float(document["intercept"]))
        raise ValueError(f"unknown calibrator {kind!r}: this version knows sigmoid and isotonic")


def fit(raw: Floats, y: Floats, weight: Floats) -> Calibrator:
    """A calibrator of raw scores, outcomes (0 or 1) and weights (above 0) of as many rows; ValueError without rows.

    It never turns the order of scores round: where the outcomes fall as the score rises it gives one probability.
    """
    if not len(raw):
        raise ValueError("there are no rows to calibrate on")
    if len(raw) < ISOTONIC_ROWS:
        slope, intercept = _fit_sigmoid(raw, y, weight)
        return Calibrator("sigmoid", len(raw), slope=slope, intercept=intercept)
    x, steps = _fit_isotonic(raw, y, weight)
    return Calibrator("isotonic", len(raw), x=x, y=steps)


def _sigmoid(value: float) -> float:
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    grown = math.exp(max(value, -700.0))
    return grown / (1.0 + grown)


def _fit_sigmoid(raw: Floats, y: Floats, weight: Floats) -> tuple[float, float]:
    """Slope and intercept of the least weighted log-loss against Platt's targets; a falling slope becomes 0."""
    positive, negative = float(weight[y > 0.5].sum()), float(weight[y <= 0.5].sum())
    target = np.where(y > 0.5, (positive + 1) / (positive + 2), 1 / (negative + 2))
    slope, intercept = 0.0, math.log((positive + 1) / (negative + 1))
    loss = _loss(slope * raw + intercept, target, weight)
    for _ in range(_STEPS):
        p = 0.5 * (1.0 + np.tanh(0.5 * (slope * raw + intercept)))
        error, bend = weight * (p - target), weight * p * (1.0 - p)
        ga, gb = float((error * raw).sum()), float(error.sum())
        aa, ab, bb = float((bend * raw * raw).sum()) + 1e-12, float((bend * raw).sum()), float(bend.sum()) + 1e-12
        apart = aa * bb - ab * ab
        da, db = (bb * ga - ab * gb) / apart, (aa * gb - ab * ga) / apart
        step = 1.0
        while (
            tried := _loss((slope - step * da) * raw + intercept - step * db, target, weight)
        ) > loss and step > 1e-8:
            step /= 2
        slope, intercept, gained, loss = slope - step * da, intercept - step * db, loss - tried, tried
        if gained < _PRECISION * max(1.0, loss):
            break
    if slope > 0:
        return slope, intercept
    share = float((weight * target).sum() / weight.sum())
    return 0.0, math.log(share / (1 - share))


def _loss(logit: Floats, target: Floats, weight: Floats) -> float:
    return float((weight * (np.logaddexp(0.0, logit) - target * logit)).sum())


def _fit_isotonic(raw: Floats, y: Floats, weight: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """First and last score of each step of the isotonic regression, and the steps' heights."""
    order = np.argsort(raw, kind="stable")
    values, place = np.unique(raw[order], return_inverse=True)
    mass = np.bincount(place, weight[order])
    mean = np.bincount(place, weight[order] * y[order]) / mass
    heights: list[float] = []
    masses: list[float] = []
    starts: list[int] = []
    for number, (height, amount) in enumerate(zip(mean.tolist(), mass.tolist(), strict=True)):
        heights.append(height)
        masses.append(amount)
        starts.append(number)
        while len(heights) > 1 and heights[-2] >= heights[-1]:
            last, last_mass = heights.pop(), masses.pop()
            starts.pop()
            total = masses[-1] + last_mass
            heights[-1] = (heights[-1] * masses[-1] + last * last_mass) / total
            masses[-1] = total
    ends = [*(start - 1 for start in starts[1:]), len(values) - 1]
    points = [
        (float(values[place]), height)
        for start, end, height in zip(starts, ends, heights, strict=True)
        for place in sorted({start, end})
    ]
    return tuple(x for x, _ in points), tuple(height for _, height in points)
