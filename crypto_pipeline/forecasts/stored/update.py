"""What the nightly run does: fit, publish what is due, score what has expired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from crypto_pipeline.forecasts.horizons import RELEASE, ForecastHorizon
from crypto_pipeline.forecasts.stored.fit import FitReport, fit_stored
from crypto_pipeline.forecasts.stored.inputs import price_names
from crypto_pipeline.forecasts.stored.publish import publish_due
from crypto_pipeline.forecasts.stored.releases import update_releases
from crypto_pipeline.store import Store
from crypto_pipeline.store.research.forecasts import FitRow

#: Older fits are not published from.
OLDEST_FIT = timedelta(days=8)


@dataclass(frozen=True, slots=True)
class ForecastReport:
    """What an update did: the fits, and how many forecasts are published for the newest closes, by horizon."""

    fits: FitReport
    published: dict[str, int]


def bring_up_to_date(store: Store, names: Sequence[str] = (), now: datetime | None = None) -> ForecastReport:
    """Fit every series of ``names`` and publish what is due; without names every collected instrument and macro series.

    Repeating it adds nothing.
    """
    moment = store.clock.now() if now is None else now
    report = fit_stored(store, list(ForecastHorizon), list(names) or price_names(store), moment)
    fits = newest_fits(store, moment)
    published = {str(horizon): len(publish_due(store, horizon, fits, moment)) for horizon in ForecastHorizon}
    if not names:
        published[str(RELEASE)] = update_releases(store, moment, report)
    return ForecastReport(report, published)


def newest_fits(store: Store, now: datetime) -> list[FitRow]:
    """The newest fit of every collected series and horizon."""
    return store.forecasts.fits([str(each) for each in ForecastHorizon], now - OLDEST_FIT)
