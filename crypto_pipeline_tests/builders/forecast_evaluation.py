"""What forecasts of the past would have been worth: chosen anew as time goes on, from what was known by then."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from crypto_pipeline.forecasts import ets
from crypto_pipeline.forecasts.choice import choose
from crypto_pipeline.forecasts.conformal import COVERAGES, known_errors
from crypto_pipeline.forecasts.fitting import Judged, first_origin, judge
from crypto_pipeline.forecasts.horizons import ForecastHorizon
from crypto_pipeline.forecasts.scoring import covered
from crypto_pipeline.forecasts.timeline import Timeline
from crypto_pipeline.market.calendars import ALWAYS

Floats = npt.NDArray[np.float64]
START = datetime(2020, 1, 6, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Of one series: shares of each origin's targets inside the intervals, losses of what was published and of naive,
    and how often each candidate was published."""

    inside: dict[float, Floats]
    published: Floats
    naive: Floats
    models: Counter[str]


def timeline(horizon: ForecastHorizon, bars: int) -> Timeline:
    """Closes at all hours or days, as many as there are bars."""
    width = horizon.timeframe.delta
    return Timeline.over(horizon, ALWAYS, START, START + bars * width)


def evaluate(horizon: ForecastHorizon, closes: Floats, *, smoothing: bool = False, every: int = 7) -> Evaluation:
    """Judge a series with as many origins as it has; the choice is made anew every ``every`` days."""
    line, values = timeline(horizon, len(closes)), np.log(closes)[None, :]
    first = first_origin(line.bars, horizon, line.bars)
    model = ets.fit(values[:, : first + 1]) if smoothing else None
    judged = judge(line, values, model, line.bars)
    losses = {name: one.losses()[0] for name, one in judged.items()}
    origins = np.arange(first, line.bars)
    targets = line.target_rows()[origins]
    chosen = np.full(len(origins), "naive", dtype=object)
    stretch = every * (24 if horizon is ForecastHorizon.HOURS else 1)
    for begin in range(0, len(origins), stretch):
        known = int(known_errors(targets, origins, int(origins[begin])).min())
        past = {name: each[max(0, known - horizon.walk.origins) : known] for name, each in losses.items()}
        if known:
            chosen[begin : begin + stretch] = choose(past, horizon.block).model
    return _gathered(judged, losses, chosen)


def _gathered(judged: dict[str, Judged], losses: dict[str, Floats], chosen: npt.NDArray[np.object_]) -> Evaluation:
    counted = np.isfinite(losses["naive"])
    inside = {promised: np.full(len(chosen), np.nan) for promised in COVERAGES}
    published = np.full(len(chosen), np.nan)
    for name, one in judged.items():
        of = counted & (chosen == name)
        quantiles = one.calibrated.walked[one.calibrated.recalibration[of], 0]
        for promised, held in covered(one.errors[0, of], quantiles).items():
            inside[promised][of] = held.mean(axis=1)
        published[of] = losses[name][of]
    kept = {promised: values[counted] for promised, values in inside.items()}
    return Evaluation(kept, published[counted], losses["naive"][counted], Counter(chosen[counted].tolist()))
