"""The nightly fit: every candidate is judged on rolling origins, and one of them is chosen with its intervals.

No figure rests on a bar after the moment it is about: the parameters of exponential smoothing come from the bars before
the first judged origin, the quantiles of an origin from targets that were known by then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from crypto_pipeline.forecasts import ets, paths
from crypto_pipeline.forecasts.choice import Choice, choose
from crypto_pipeline.forecasts.conformal import Calibrated, calibrate
from crypto_pipeline.forecasts.ets import EtsModel
from crypto_pipeline.forecasts.horizons import LEAST_ORIGINS, HorizonShape
from crypto_pipeline.forecasts.scoring import pinball
from crypto_pipeline.forecasts.timeline import Floats, Ints, forward_filled


@dataclass(frozen=True, slots=True)
class SeriesFit:
    """The fit of one series.

    Attributes:
        choice: The candidate that is published, and why.
        origins: Origins whose errors give the quantiles, of the step that has fewest.
        slope: Change of the log price per bar, of the random walk with drift.
        smoothing: Alpha, beta, phi, level and trend after the last bar; None without a fit.
        offsets: Of the published quantiles from the path, (steps, quantiles), log price.
        naive_offsets: The same of naive.
        outside: Share that each interval leaves outside by its ranks after correction, (steps, coverages).
    """

    choice: Choice
    origins: int
    slope: float
    smoothing: tuple[float, float, float, float, float] | None
    offsets: Floats
    naive_offsets: Floats
    outside: Floats


@dataclass(frozen=True, slots=True)
class Judged:
    """One candidate on all origins: ``errors``, target minus path (series, origins, steps), and its calibration."""

    errors: Floats
    calibrated: Calibrated

    def losses(self) -> Floats:
        """Mean pinball loss over the steps of every origin, (series, origins); NaN where a step has none."""
        places = self.calibrated.recalibration
        found = np.full(self.errors.shape[:2], np.nan)
        for number in range(len(self.calibrated.walked)):
            of = places == number
            quantiles = self.calibrated.walked[number][:, None]
            found[:, of] = pinball(self.errors[:, of], quantiles).mean(axis=2)
        return found


class Origins(Protocol):
    """Rows of several series on one line of time, and the rows that are their targets."""

    @property
    def horizon(self) -> HorizonShape:
        """How far each looks ahead."""

    @property
    def bars(self) -> int:
        """The number of rows."""

    def target_rows(self) -> Ints:
        """Rows of the targets, (bars, steps); -1: still to come."""


def first_origin(bars: int, horizon: HorizonShape, most: int | None = None) -> int:
    """The first row that is judged: the bars before it are for fitting, as far as enough origins are left.

    ``most``: origins that are judged at most; None: those of the horizon.
    """
    spare = max(0, bars - 2 * LEAST_ORIGINS - horizon.reach)
    return max(min(spare, ets.LEAST_BARS), bars - (most or horizon.walk.origins), 0)


def judge(timeline: Origins, values: Floats, smoothing: EtsModel | None, most: int | None = None) -> dict[str, Judged]:
    """Every candidate on the rolling origins of ``values``, log prices (series × bars), NaN where a bar is absent.

    ``smoothing``: fitted before the first origin, with the states before the first bar; None: no such candidate.
    ``most``: as for ``first_origin``.
    """
    horizon, filled = timeline.horizon, forward_filled(values)
    origins = np.arange(first_origin(timeline.bars, horizon, most), timeline.bars)
    targets = timeline.target_rows()[origins]
    ahead = np.where(targets >= 0, targets - origins[:, None], 1)
    seen = np.where(targets >= 0, values[:, np.clip(targets, 0, None)], np.nan)
    seen = np.where(np.isnan(values[:, origins])[:, :, None], np.nan, seen)
    found = {}
    for name, path in _paths(filled, origins, ahead, smoothing).items():
        errors = seen - path()
        found[name] = Judged(errors, calibrate(errors, origins, targets, horizon.walk))
    return found


def _paths(filled: Floats, origins: Ints, ahead: Ints, smoothing: EtsModel | None) -> dict[str, Callable[[], Floats]]:
    found: dict[str, Callable[[], Floats]] = {
        paths.NAIVE: lambda: paths.naive(filled, origins, ahead),
        paths.DRIFT: lambda: paths.drift(filled, origins, ahead),
    }
    if smoothing is not None and smoothing.usable.any():
        begin = _fitted_from(int(origins[0]) + 1)
        model = smoothing

        def smoothed() -> Floats:
            level, trend = ets.states(model, filled[:, begin:])
            return ets.path(model.phi, level[:, origins - begin], trend[:, origins - begin], ahead)

        found[paths.ETS] = smoothed
    return found


def _fitted_from(bars: int) -> int:
    """The first of so many bars that a fit uses."""
    return max(0, bars - ets.FITTED_BARS)


def fit(timeline: Origins, values: Floats, *, smoothing: bool) -> list[SeriesFit | None]:
    """Fit every row of ``values`` (log prices, series × bars, NaN where a bar is absent); None: too few origins.

    ``smoothing``: whether exponential smoothing is a candidate; ImportError where statsforecast is absent.
    """
    series, bars = values.shape
    if not bars or not series:
        return [None] * series
    filled = forward_filled(values)
    model = ets.fit(filled[:, : first_origin(bars, timeline.horizon) + 1]) if smoothing else None
    judged = judge(timeline, values, model)
    losses = {name: each.losses() for name, each in judged.items()}
    block = timeline.horizon.block
    choices = [choose({name: each[row] for name, each in losses.items()}, block) for row in range(series)]
    slopes = paths.slope(filled, np.array([bars - 1]))[:, 0]
    states = _final_states(filled, np.array([each.model == paths.ETS for each in choices]))
    found: list[SeriesFit | None] = []
    for row, choice in enumerate(choices):
        naive, chosen = judged[paths.NAIVE].calibrated, judged[choice.model].calibrated
        fitted = None
        if np.isfinite(chosen.offsets[row]).all() and np.isfinite(naive.offsets[row]).all():
            fitted = SeriesFit(
                choice, int(chosen.used[row].min()), float(slopes[row]), states[row],
                chosen.offsets[row], naive.offsets[row], chosen.outside[row],
            )  # fmt: skip
        found.append(fitted)
    return found


def _final_states(filled: Floats, rows: np.ndarray) -> list[tuple[float, float, float, float, float] | None]:
    """Parameters fitted to the newest bars, and the states after the last, of the series in ``rows`` alone."""
    found: list[tuple[float, float, float, float, float] | None] = [None] * len(filled)
    if not rows.any():
        return found
    newest = filled[rows][:, _fitted_from(filled.shape[1]) :]
    model = ets.fit(newest)
    level, trend = ets.states(model, newest)
    after = replace(model, level=level[:, -1], trend=trend[:, -1])
    for number, row in enumerate(np.flatnonzero(rows)):
        each = tuple(float(part[number]) for part in (after.alpha, after.beta, after.phi, after.level, after.trend))
        found[row] = (each[0], each[1], each[2], each[3], each[4])
    return found
