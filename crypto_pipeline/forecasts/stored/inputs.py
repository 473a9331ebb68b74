"""Closes of stored bars as arrays of log prices, one timeline for each calendar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from crypto_pipeline.forecasts import ets
from crypto_pipeline.forecasts.horizons import ForecastHorizon
from crypto_pipeline.forecasts.timeline import Floats, Timeline
from crypto_pipeline.lake.reads.bars import long_reads
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.calendars import ALWAYS, get_calendar
from crypto_pipeline.reading.stocks.adjustment import Adjuster
from crypto_pipeline.store import Store

_COLUMNS = ("instrument", "open_time", "close")


@dataclass(frozen=True, slots=True)
class Closes:
    """Log closes of series of one calendar, (series, bars), NaN where a bar is absent; ``names`` in that order."""

    timeline: Timeline
    names: tuple[str, ...]
    values: Floats


def fitted_from(horizon: ForecastHorizon, now: datetime) -> datetime:
    """The first moment that a fit at ``now`` looks back to, for an instrument that trades in sessions too."""
    bars = horizon.walk.origins + ets.FITTED_BARS + horizon.reach
    sessions = 1.6 if horizon.timeframe.minutes >= 1440 else 1.0
    return now - bars * sessions * horizon.timeframe.delta


def closed(horizon: ForecastHorizon, now: datetime) -> datetime:
    """The newest close of a bar at ``now``."""
    return horizon.timeframe.floor(now)


def read_closes(
    store: Store, names: Sequence[str], horizon: ForecastHorizon, start: datetime, end: datetime
) -> Iterator[Closes]:
    """Closes in ``(start, end]`` of complete bars, by calendar; those of stocks are on the basis of the last split.

    Raises ValueError for a calendar without the extra ``stocks``.
    """
    calendars = store.symbols.calendars(names)
    by_calendar: dict[str, list[str]] = {}
    for name in sorted(names):
        by_calendar.setdefault(calendars.get(name, ALWAYS.name), []).append(name)
    for calendar, members in by_calendar.items():
        timeline = Timeline.over(horizon, get_calendar(calendar), start, end)
        bars = long_reads(store).read(members, horizon.timeframe, start, end, complete=True, columns=_COLUMNS)
        if calendar != ALWAYS.name:
            bars = _on_one_basis(store, bars, horizon, end)
        yield Closes(timeline, tuple(members), laid_out(bars, timeline, members))


def _on_one_basis(store: Store, bars: pl.DataFrame, horizon: ForecastHorizon, now: datetime) -> pl.DataFrame:
    """Bars with the closes before a split divided by its ratio."""
    adjuster = Adjuster.from_frame(store, "splits", bars, horizon.timeframe, as_of=None, complete=True, now=lambda: now)
    return adjuster.adjusted(bars, horizon.timeframe)


def laid_out(bars: pl.DataFrame, timeline: Timeline, names: Sequence[str]) -> Floats:
    """Log closes of ``bars`` on the timeline, (names, bars), without those that are not expected or not above 0."""
    values = np.full((len(names), timeline.bars), np.nan)
    if bars.is_empty() or not timeline.bars:
        return values
    places = {name: number for number, name in enumerate(names)}
    rows = bars["instrument"].replace_strict(places, return_dtype=pl.Int64).to_numpy()
    closes = bars["open_time"].cast(UTC_MS).to_physical().to_numpy() + timeline.horizon.timeframe.milliseconds
    found = np.clip(np.searchsorted(timeline.closes, closes), 0, timeline.bars - 1)
    prices = bars["close"].to_numpy()
    kept = (timeline.closes[found] == closes) & (prices > 0)
    values[rows[kept], found[kept]] = np.log(prices[kept])
    return values


def price_names(store: Store) -> list[str]:
    """Names of the collected instruments, which have prices."""
    return [row.instrument.symbol for row in store.instruments.list()]


def span_back(horizon: ForecastHorizon) -> timedelta:
    """How old a fit may be and still be published from."""
    return timedelta(days=3) + 4 * horizon.timeframe.delta
