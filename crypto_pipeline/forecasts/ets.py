"""Additive exponential smoothing of log prices: fitted by statsforecast, carried on by an array kernel.

statsforecast (an optional extra) finds the smoothing parameters of one series; the recursion itself is a few lines over
arrays, so that one fit serves hundreds of origins and every later bar. Models: ETS(A,N,N), ETS(A,A,N) and ETS(A,Ad,N),
chosen by AICc (Hyndman, Koehler, Ord and Snyder, Forecasting with Exponential Smoothing, 2008, table 2.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crypto_pipeline.forecasts.timeline import Floats, Ints

#: The newest bars that a fit uses. More of them change the parameters of log prices little and cost time.
FITTED_BARS = 500
#: Fewer bars give no fit.
LEAST_BARS = 60


@dataclass(frozen=True, slots=True)
class EtsModel:
    """Smoothing parameters and states of several series, each an array of shape (series,); NaN where there is no fit.

    Attributes:
        alpha: Smoothing of the level.
        beta: Smoothing of the trend; 0 without one.
        phi: Damping of the trend; 1 where it is not damped or there is none.
        level: State before the next bar.
        trend: State before the next bar; 0 without one.
    """

    alpha: Floats
    beta: Floats
    phi: Floats
    level: Floats
    trend: Floats

    @property
    def usable(self) -> np.ndarray:
        """Which series have a fit."""
        return ~np.isnan(self.alpha)


def is_installed() -> bool:
    """Whether statsforecast can be imported; it is not imported for that."""
    from importlib.util import find_spec

    return find_spec("statsforecast") is not None


def without_fit(series: int) -> EtsModel:
    """A model of so many series of which none is fitted."""
    empty = np.full(series, np.nan)
    return EtsModel(empty, empty, empty, empty, empty)


def fit(values: Floats) -> EtsModel:
    """Fit every row of ``values`` (series × bars, log prices; NaN before the first bar, none after).

    The states are those before the first bar that is used, the newest ``FITTED_BARS``. A row with fewer than
    ``LEAST_BARS``, or one that never moves, has no fit. Raises ImportError without statsforecast.
    """
    from statsforecast.models import AutoETS

    rows = np.full((values.shape[0], 5), np.nan)
    for number, row in enumerate(values):
        used = row[-FITTED_BARS:]
        used = used[~np.isnan(used)]
        if len(used) < LEAST_BARS or np.ptp(used) == 0:
            continue
        parameters = AutoETS(season_length=1, model="AZN").fit(used).model_
        rows[number] = parameters_of(parameters)
    return EtsModel(*np.ascontiguousarray(rows.T))


def parameters_of(found: dict[str, object]) -> tuple[float, float, float, float, float]:
    """Alpha, beta, phi, and the initial level and trend, of a fit of statsforecast (``model_`` of its AutoETS)."""
    par = np.asarray(found["par"], np.float64)
    alpha, beta, _, phi, level = par[:5]
    trended = str(found["components"])[1] != "N"
    trend = par[5] if trended else 0.0
    return (
        float(alpha),
        float(beta) if trended else 0.0,
        float(phi) if trended and not np.isnan(phi) else 1.0,
        float(level),
        float(trend),
    )


def states(model: EtsModel, values: Floats) -> tuple[Floats, Floats]:
    """Level and trend after every bar of ``values`` (series × bars), two arrays of that shape.

    ``values`` has no gaps; before the first bar of a series (NaN) its state stays what it is.
    """
    level, trend = model.level.copy(), model.trend.copy()
    levels, trends = np.empty(values.shape), np.empty(values.shape)
    for bar in range(values.shape[1]):
        value = values[:, bar]
        begun = ~np.isnan(value)
        damped = model.phi * trend
        expected = level + damped
        error = value - expected
        level = np.where(begun, expected + model.alpha * error, level)
        trend = np.where(begun, damped + model.beta * error, trend)
        levels[:, bar], trends[:, bar] = level, trend
    return levels, trends


def path(phi: Floats, level: Floats, trend: Floats, ahead: Ints) -> Floats:
    """Point forecasts so many bars ahead: level plus the damped trend, shape (series, origins, steps).

    ``phi``: (series,); ``level`` and ``trend``: (series, origins); ``ahead``: (origins, steps), at least 1.
    """
    most = int(ahead.max(initial=0))
    sums = np.zeros((len(phi), most + 1))
    if most:
        powers = phi[:, None] ** np.arange(1, most + 1)
        sums[:, 1:] = np.cumsum(powers, axis=1)
    found: Floats = level[:, :, None] + trend[:, :, None] * sums[:, ahead]
    return found
