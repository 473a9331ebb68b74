"""Scores: after the last target of a forecast has passed, what was published is compared with what came, once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from crypto_pipeline.forecasts.conformal import COVERAGES
from crypto_pipeline.forecasts.horizons import ForecastHorizon
from crypto_pipeline.forecasts.publication import steps_of
from crypto_pipeline.forecasts.scoring import covered, pinball
from crypto_pipeline.forecasts.stored.inputs import read_closes
from crypto_pipeline.forecasts.timeline import Floats
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.store import Store
from crypto_pipeline.store.research.forecasts import ForecastRow, NewScore

#: A target's bar that is not there so long after the last target is taken for one that never comes.
NEVER = timedelta(days=2)
#: Forecasts that are scored in one transaction.
_BATCH = 2_000


def score_expired(store: Store, now: datetime) -> int:
    """Score every forecast whose last target has passed and whose bars are there; returns how many are new.

    A forecast that lacks the bar of a target waits for it for NEVER, and is then scored on the others.
    """
    new = 0
    for horizon in ForecastHorizon:
        after = 0
        while rows := store.forecasts.expired(str(horizon), now, after, _BATCH):
            after = rows[-1].forecast_id
            scored = [score(row, seen) for row, seen in _seen(store, horizon, rows) if _is_due(row, seen, now)]
            new += store.forecasts.add_scores(scored)
    return new


def _seen(store: Store, horizon: ForecastHorizon, rows: Sequence[ForecastRow]) -> Iterator[tuple[ForecastRow, Floats]]:
    """Each forecast with the changes of the log price from its anchor to its targets, NaN where a bar is absent."""
    width = horizon.timeframe.delta
    start, end = min(row.moment for row in rows) - width, max(max(row.targets) for row in rows)
    by_name: dict[str, list[ForecastRow]] = {}
    for row in rows:
        by_name.setdefault(row.series, []).append(row)
    for closes in read_closes(store, list(by_name), horizon, start.astimezone(UTC), end.astimezone(UTC)):
        places = {close: number for number, close in enumerate(closes.timeline.closes.tolist())}
        for number, name in enumerate(closes.names):
            for row in by_name[name]:
                ends = [places.get(unix_ms(moment), -1) for moment in (row.moment, *row.targets)]
                values = np.array([closes.values[number, place] if place >= 0 else np.nan for place in ends])
                yield row, values[1:] - values[0]


def _is_due(row: ForecastRow, seen: Floats, now: datetime) -> bool:
    return bool(np.isfinite(seen).all()) or now - max(row.targets) > NEVER


def score(row: ForecastRow, seen: Floats) -> NewScore:
    """The score of a forecast by the changes that came, (steps,), NaN where none did."""
    published = steps_of(row.quantiles)
    naive = published if row.naive is None else steps_of(row.naive)
    held = covered(seen, published)
    absent = np.isnan(seen)
    inside = {
        promised: [None if gone else bool(one) for one, gone in zip(held[promised], absent, strict=True)]
        for promised in COVERAGES
    }
    return NewScore(
        row.forecast_id, _listed(seen), _listed(pinball(seen, published)), _listed(pinball(seen, naive)),
        inside[0.80], inside[0.95],
    )  # fmt: skip


def _listed(values: Floats) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]
