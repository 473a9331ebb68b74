"""Macro series: the value of the next release, fitted to the values that were public, published and scored once.

A percentage is forecast as such, everything else by its logarithm. There is one step, the next period; its target is
the day on which its first value is expected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from crypto_pipeline.forecasts import ets
from crypto_pipeline.forecasts.answer import Forecast
from crypto_pipeline.forecasts.fitting import fit
from crypto_pipeline.forecasts.horizons import LEAST_ORIGINS, RELEASE, ReleaseHorizon
from crypto_pipeline.forecasts.publication import fit_document, outlook, steps_of
from crypto_pipeline.forecasts.stored.fit import WITHOUT_ETS, FitReport, tried_candidates
from crypto_pipeline.forecasts.stored.scores import score
from crypto_pipeline.forecasts.timeline import Floats, Ints
from crypto_pipeline.healing.macro.due import expected_release
from crypto_pipeline.market.macro.vintages import day_end
from crypto_pipeline.store import Store
from crypto_pipeline.store.macro.reads import MacroRow
from crypto_pipeline.store.research.forecasts import ForecastRow, NewFit, NewForecast

#: After a release is overdue for so long a forecast of it is no longer current; without a value for so long it is
#: scored on none.
_GRACE, _NEVER = timedelta(days=1), timedelta(days=60)
#: Values that are used: four decades of months.
_MOST = 480


@dataclass(frozen=True, slots=True)
class Periods:
    """The periods of a series, whose targets are the next ones."""

    bars: int
    horizon: ReleaseHorizon = RELEASE

    def target_rows(self) -> Ints:
        """The following row of each period, (periods, 1); -1 after the last."""
        following = np.arange(1, self.bars + 1, dtype=np.int64)
        return np.where(following < self.bars, following, -1)[:, None]


@dataclass(frozen=True, slots=True)
class Published:
    """The values of a series that were public: the newest of each period, and since when the last period has one."""

    row: MacroRow
    values: Floats
    newest: date
    since: datetime


def public_values(store: Store, row: MacroRow, now: datetime) -> Published | None:
    """What was public of a series at ``now``; None without any value, or where its logarithm is needed and has none."""
    found = store.macro_reads.observations(row, as_of=now).drop_nulls("value").tail(_MOST)
    if found.is_empty() or (not row.percent and float(found["value"].min()) <= 0):  # type: ignore[arg-type]
        return None
    first = store.macro_reads.observations(row, as_of=now, prints="first")
    since: datetime = first.filter(pl.col("period") == found["period"][-1])["available_at"][-1]
    raw = found["value"].to_numpy()
    return Published(row, raw if row.percent else np.log(raw), found["period"][-1], since)


def update_releases(store: Store, now: datetime, report: FitReport) -> int:
    """Fit every collected macro series and publish the forecast of its next release; returns how many there are."""
    tried, published = ets.is_installed(), []
    for row in store.macro_reads.series():
        known = public_values(store, row, now)
        if known is None:
            continue
        (one,) = fit(Periods(len(known.values)), known.values[None, :], smoothing=tried)
        if one is None:
            report.lacking[f"{row.name} {RELEASE}"] = f"{len(known.values)} values: {LEAST_ORIGINS + 1} are needed"
            continue
        document = fit_document(one, tried_candidates(tried), "" if tried else WITHOUT_ETS)
        new = NewFit(row.name, str(RELEASE), known.since, one.choice.model, document)
        report.new += store.forecasts.add_fits([new])
        published += _forecast(store, known, new, now)
    report.fitted[str(RELEASE)] = len(published)
    store.forecasts.publish(published)
    return len(published)


def _forecast(store: Store, known: Published, new: NewFit, now: datetime) -> list[NewForecast]:
    expected = expected_release(store, known.row)
    rows = store.forecasts.fits([str(RELEASE)], datetime.min.replace(tzinfo=UTC))
    fits = [one for one in rows if one.series == new.series]
    if expected is None or not fits:
        return []
    target = max(day_end(expected.day, known.row.zone), known.since + timedelta(hours=1))
    made = outlook(new.model, new.fit, known.values[-1:], np.ones(1, np.int64))
    anchor = float(known.values[-1]) if known.row.percent else math.exp(known.values[-1])
    naive = None if made.naive is None else made.naive.ravel().tolist()
    return [
        NewForecast(
            new.series, str(RELEASE), known.since, fits[0].fit_id, anchor, new.model, made.direction, [target],
            made.quantiles.ravel().tolist(), naive,
        )
    ]  # fmt: skip


def score_releases(store: Store, now: datetime) -> int:
    """Score the forecasts whose release was due and whose value has come; returns how many are new."""
    scores = []
    for forecast in store.forecasts.expired(str(RELEASE), now, 0, 1_000):
        came = _came(store, forecast, now)
        if came is not None or now - max(forecast.targets) > _NEVER:
            scores.append(score(forecast, np.array([np.nan if came is None else came])))
    return store.forecasts.add_scores(scores)


def _came(store: Store, forecast: ForecastRow, now: datetime) -> float | None:
    """Change from the anchor to the first value of the first period that was published after the forecast."""
    first = store.macro_reads.observations(store.macro_reads.find(forecast.series), as_of=now, prints="first")
    later = first.filter(pl.col("available_at") > forecast.moment).drop_nulls("value").sort("period")
    if later.is_empty():
        return None
    value = float(later["value"][0])
    if forecast.in_percent:
        return value - forecast.anchor
    return math.log(value / forecast.anchor) if value > 0 else None


def release_forecast(row: ForecastRow, now: datetime) -> tuple[Forecast, datetime]:
    """A stored forecast of a release, and since when it may no longer be current: after the release is overdue."""
    moment = row.moment.astimezone(UTC)
    targets: Sequence[datetime] = [each.astimezone(UTC) for each in row.targets]
    made = Forecast(
        row.series, row.horizon, moment, row.model, row.why, row.anchor, moment, tuple(targets),
        steps_of(row.quantiles), row.asset_class, row.in_percent,
    )  # fmt: skip
    return made, min(now, max(targets) + _GRACE)
