"""Publishing: at the close of a bar every series with a fit gets a forecast, once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from crypto_pipeline.forecasts.horizons import ForecastHorizon
from crypto_pipeline.forecasts.publication import outlook
from crypto_pipeline.forecasts.stored.inputs import Closes, closed, read_closes, span_back
from crypto_pipeline.forecasts.timeline import Ints, Timeline, forward_filled, moment_of
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.store import Store
from crypto_pipeline.store.research.forecasts import FitRow, NewForecast

#: Bars before the close that was fitted to, for one that was absent there.
_BEFORE = 48


def publish_due(store: Store, horizon: ForecastHorizon, fits: Sequence[FitRow], now: datetime) -> list[NewForecast]:
    """Publish the forecasts of the newest close of every fitted series, as far as its bar is stored.

    Returns those that are published for that close, new or not. A series whose bar is not there yet has none.
    """
    end = closed(horizon, now)
    known = {one.series: one for one in fits if one.horizon == horizon and end - one.fitted_to <= span_back(horizon)}
    if not known:
        return []
    start = min(one.fitted_to for one in known.values()) - _BEFORE * horizon.timeframe.delta
    found: list[NewForecast] = []
    for closes in read_closes(store, list(known), horizon, start, end):
        found += _of_calendar(closes, known)
    store.forecasts.publish(found)
    return found


def _of_calendar(closes: Closes, fits: dict[str, FitRow]) -> list[NewForecast]:
    timeline = closes.timeline
    if not timeline.bars:
        return []
    moment = moment_of(timeline.closes[-1])
    targets = timeline.targets_after(moment)
    if len(targets) < timeline.horizon.steps:
        return []
    ahead, filled = bars_ahead(timeline, moment, targets), forward_filled(closes.values)
    found = []
    for row, name in enumerate(closes.names):
        one = fits[name]
        first = int(np.searchsorted(timeline.closes, unix_ms(one.fitted_to)))
        since = filled[row, first:]
        if not len(since) or np.isnan(closes.values[row, -1]) or np.isnan(since).any():
            continue
        made = outlook(one.model, one.fit, since, ahead)
        found.append(
            NewForecast(
                name,
                str(timeline.horizon),
                moment,
                one.fit_id,
                float(np.exp(since[-1])),
                one.model,
                made.direction,
                targets,
                made.quantiles.ravel().tolist(),
                None if made.naive is None else made.naive.ravel().tolist(),
            )
        )
    return found


def bars_ahead(timeline: Timeline, moment: datetime, targets: Sequence[datetime]) -> Ints:
    """Expected bars from ``moment`` to each target."""
    later = Timeline.over(timeline.horizon, timeline.calendar, moment, targets[-1])
    ends = np.array([unix_ms(target) for target in targets], np.int64)
    found: Ints = np.searchsorted(later.closes, ends, side="right").astype(np.int64)
    return found
