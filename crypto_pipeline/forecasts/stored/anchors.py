"""Stored forecasts anchored to the last prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from crypto_pipeline.forecasts.answer import Forecast, current_at
from crypto_pipeline.forecasts.horizons import ForecastHorizon
from crypto_pipeline.forecasts.publication import steps_of
from crypto_pipeline.market.calendars import ALWAYS, Calendar, get_calendar
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.research.forecasts import ForecastRow

#: Older forecasts are not looked for: they would be refused.
_OLDEST = timedelta(days=14)
#: A bar is expected to be published so long after its close.
_GRACE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Anchored:
    """A forecast, and since when its price may no longer be current (the moment of the look where it is)."""

    forecast: Forecast
    as_of: datetime


def anchored(
    store: Store, names: Sequence[str], horizons: Sequence[ForecastHorizon]
) -> dict[tuple[str, ForecastHorizon], Anchored]:
    """The newest forecasts of these instruments, each anchored to the last price where that is newer than its bar.

    Two queries, however many there are.
    """
    now = store.clock.lately()
    rows = store.forecasts.newest(names, [str(each) for each in horizons], now - _OLDEST)
    prices = store.live.last_prices(sorted({row.series for row in rows}))
    calendars = store.symbols.calendars(sorted({row.series for row in rows}))
    found = {}
    for row in rows:
        calendar = get_calendar(calendars.get(row.series, ALWAYS.name))
        made, horizon = forecast_of(row), ForecastHorizon(row.horizon)
        price = prices.get(row.series)
        if price is not None and price[1] > made.moment:
            made = made.anchored(*price)
        found[row.series, horizon] = Anchored(made, current_at(made, now, *_edges(made, horizon, calendar, now)))
    return found


def forecast_of(row: ForecastRow) -> Forecast:
    """A stored forecast as it was published."""
    moment = row.moment.astimezone(UTC)
    return Forecast(
        row.series, row.horizon, moment, row.model, row.why, row.anchor, moment,
        tuple(each.astimezone(UTC) for each in row.targets), steps_of(row.quantiles), row.asset_class,
    )  # fmt: skip


def _edges(made: Forecast, horizon: ForecastHorizon, calendar: Calendar, now: datetime) -> tuple[datetime, datetime]:
    """From when the price ages, and when the next forecast is due."""
    width = horizon.timeframe.delta
    if calendar is ALWAYS:
        return made.anchored_at, made.moment + width + _GRACE
    traded = calendar.spans(Timeframe.M1, made.anchored_at, now)
    opened = traded[0][0] if traded else now
    bars = calendar.spans(horizon.timeframe, made.moment, made.moment + timedelta(days=14))
    following = bars[0][0] if bars else made.moment
    return max(made.anchored_at, opened), following + width + _GRACE
