"""The nightly fit of the stored bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from crypto_pipeline.forecasts import ets
from crypto_pipeline.forecasts.fitting import SeriesFit, fit
from crypto_pipeline.forecasts.horizons import LEAST_ORIGINS, ForecastHorizon
from crypto_pipeline.forecasts.paths import CANDIDATES, ETS
from crypto_pipeline.forecasts.publication import fit_document
from crypto_pipeline.forecasts.stored.inputs import Closes, closed, fitted_from, read_closes
from crypto_pipeline.store import Store
from crypto_pipeline.store.research.forecasts import NewFit

#: What an answer says where exponential smoothing was not tried.
WITHOUT_ETS = "exponential smoothing was not tried: pip install 'crypto-pipeline[forecast]'"


@dataclass(slots=True)
class FitReport:
    """What a fit did, by horizon: series that were fitted, stored fits that are new, and why others have none."""

    fitted: dict[str, int] = field(default_factory=dict)
    new: int = 0
    lacking: dict[str, str] = field(default_factory=dict)


def fit_stored(
    store: Store,
    horizons: Sequence[ForecastHorizon],
    names: Sequence[str],
    now: datetime,
    *,
    smoothing: bool | None = None,
) -> FitReport:
    """Fit the bars that had closed at ``now`` and store the fits. ``smoothing`` None: where it is installed."""
    tried = ets.is_installed() if smoothing is None else smoothing
    report = FitReport()
    for horizon in horizons:
        end = closed(horizon, now)
        fits: list[NewFit] = []
        for closes in read_closes(store, names, horizon, fitted_from(horizon, end), end):
            fits += _fits(closes, tried, report)
        report.fitted[str(horizon)] = len(fits)
        report.new += store.forecasts.add_fits(fits)
    return report


def _fits(closes: Closes, tried: bool, report: FitReport) -> list[NewFit]:
    timeline, found = closes.timeline, []
    fits = fit(timeline, closes.values, smoothing=tried) if timeline.bars else [None] * len(closes.names)
    for name, one, values in zip(closes.names, fits, closes.values, strict=True):
        if one is None:
            bars = int(np.count_nonzero(~np.isnan(values)))
            report.lacking[f"{name} {timeline.horizon}"] = _too_few(timeline.horizon, bars)
            continue
        found.append(_new_fit(name, timeline.horizon, _fitted_to(closes), one, tried))
    return found


def _fitted_to(closes: Closes) -> datetime:
    from crypto_pipeline.forecasts.timeline import moment_of

    return moment_of(closes.timeline.closes[-1])


def tried_candidates(smoothing: bool) -> list[str]:
    """The names of the candidates, with or without exponential smoothing."""
    return [each for each in CANDIDATES if each != ETS or smoothing]


def _new_fit(name: str, horizon: ForecastHorizon, fitted_to: datetime, one: SeriesFit, tried: bool) -> NewFit:
    document = fit_document(one, tried_candidates(tried), "" if tried else WITHOUT_ETS)
    return NewFit(name, str(horizon), fitted_to, one.choice.model, document)


def _too_few(horizon: ForecastHorizon, bars: int) -> str:
    needed = LEAST_ORIGINS + horizon.reach
    return f"{bars} bars of {horizon.timeframe}: {needed} without a hole give the {LEAST_ORIGINS} origins it needs"
