"""Point forecasts of the candidates: naive, and a random walk with drift. Log prices in, log prices out.

``naive`` says that the price stays as it is; ``drift`` that it goes on as it did on average since the first bar
(Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 5.2).
"""

from __future__ import annotations

import numpy as np

from crypto_pipeline.forecasts.timeline import Floats, Ints

NAIVE, DRIFT, ETS = "naive", "drift", "ets"
#: In the order in which they are preferred where none is better.
CANDIDATES = (NAIVE, DRIFT, ETS)


def naive(filled: Floats, origins: Ints, ahead: Ints) -> Floats:
    """The path of every origin, shape (series, origins, steps): the value at the origin.

    ``filled``: log prices (series × bars) without gaps; ``origins``: rows, shape (origins,); ``ahead``: bars from each
    origin to each target, shape (origins, steps).
    """
    shape = (filled.shape[0], *ahead.shape)
    return np.broadcast_to(filled[:, origins, None], shape)


def drift(filled: Floats, origins: Ints, ahead: Ints) -> Floats:
    """As ``naive``, with the mean change per bar since the first bar of each series added for every bar ahead."""
    slopes = slope(filled, origins)
    path: Floats = filled[:, origins, None] + slopes[:, :, None] * ahead[None, :, :]
    return path


def slope(filled: Floats, origins: Ints) -> Floats:
    """Mean change per bar from the first bar of each series to each origin, (series, origins); NaN without one."""
    known = ~np.isnan(filled)
    first = np.where(known.any(axis=1), known.argmax(axis=1), filled.shape[1] - 1)
    begun = np.take_along_axis(filled, first[:, None], axis=1)
    bars = origins[None, :] - first[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bars > 0, (filled[:, origins] - begun) / bars, np.nan)
