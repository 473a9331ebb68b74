"""From a fit and the newest bars to what is published: quantiles of the change from the anchor, and a direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crypto_pipeline.forecasts import ets, paths
from crypto_pipeline.forecasts.conformal import COVERAGES, QUANTILES
from crypto_pipeline.forecasts.ets import EtsModel
from crypto_pipeline.forecasts.fitting import SeriesFit
from crypto_pipeline.forecasts.timeline import Floats, Ints

UP, DOWN, HOLD = "UP", "DOWN", "HOLD"
_LOW, _HIGH = COVERAGES[0.80]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is published of one series: changes of the log price from the anchor, (steps, quantiles), single precision.

    ``naive``: the same of the naive candidate; None where that is published.
    """

    quantiles: Floats
    naive: Floats | None
    direction: str


def direction(quantiles: Floats) -> str:
    """UP, DOWN or HOLD by the changes of one step, (quantiles,): HOLD where the 80 % interval holds no change."""
    return UP if quantiles[_LOW] > 0 else DOWN if quantiles[_HIGH] < 0 else HOLD


def fit_document(fit: SeriesFit, candidates: Sequence[str], without: str) -> dict[str, Any]:
    """A fit as JSON. ``candidates`` are those that were tried; ``without`` says which was not and why, or is empty."""
    return {
        "why": "; ".join(filter(None, (fit.choice.why, without))),
        "candidates": list(candidates),
        "losses": fit.choice.losses,
        "judged": fit.choice.judged,
        "origins": fit.origins,
        "slope": fit.slope,
        "smoothing": None if fit.smoothing is None else list(fit.smoothing),
        "offsets": fit.offsets.tolist(),
        "naive_offsets": fit.naive_offsets.tolist(),
        "outside": fit.outside.tolist(),
    }


def outlook(model: str, fit: Mapping[str, Any], since: Floats, ahead: Ints) -> Outlook:
    """What is published of a stored fit after further bars.

    ``since``: log closes from the one that was fitted to, up to the anchor, without gaps, at least one. ``ahead``: bars
    from the anchor to each target.
    """
    change = _path(model, fit, since, ahead)
    quantiles = _single(change[:, None] + np.array(fit["offsets"], np.float64))
    naive = None
    if model != paths.NAIVE:
        naive = _single(np.array(fit["naive_offsets"], np.float64))
    return Outlook(quantiles, naive, direction(quantiles[-1]))


def _single(values: Floats) -> Floats:
    """As they are stored."""
    return values.astype(np.float32).astype(np.float64)


def _path(model: str, fit: Mapping[str, Any], since: Floats, ahead: Ints) -> Floats:
    """Point forecast of the change from the anchor, (steps,)."""
    if model == paths.NAIVE:
        return np.zeros(len(ahead))
    if model == paths.DRIFT:
        change: Floats = ahead.astype(np.float64) * float(fit["slope"])
        return change
    alpha, beta, phi, level, trend = (np.array([each], np.float64) for each in fit["smoothing"])
    if len(since) == 1:  # the close that was fitted to: its state is known
        levels, trends = level[:, None], trend[:, None]
    else:
        levels, trends = ets.states(EtsModel(alpha, beta, phi, level, trend), since[None, 1:])
    found: Floats = ets.path(phi, levels[:, -1:], trends[:, -1:], ahead[None, :])[0, 0] - since[-1]
    return found


def steps_of(flat: Sequence[float]) -> Floats:
    """Stored quantiles, which are flat, as (steps, quantiles)."""
    return np.array(flat, np.float64).reshape(-1, len(QUANTILES))
