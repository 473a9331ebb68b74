"""Instruments of which not all history is asked for: a longer one became expected, or no run came to some days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import polars as pl

from crypto_pipeline.healing import plan
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.market import expected_cells
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.reading.absent.unasked import unasked_spans
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues import collected_venues, settings_at

#: The first expected day is looked for in so many days of a calendar.
_FEW_DAYS = timedelta(days=21)


def without_history(
    store: Store, settings: Settings, timeframes: Sequence[Timeframe] = tuple(Timeframe)
) -> dict[str, date | None]:
    """Active instruments of which the settings expect more history than the store does yet.

    With the first expected day of the settings for each, or None where the store expects nothing of it. Raises
    StoreError, and SettingsError where settings of retention contradict each other.
    """
    now = store.clock.now()
    found: dict[str, date | None] = {}
    for venue, names in _calendars(store, settings).items():
        horizon = _horizon(settings_at(settings, venue), now)
        for timeframe in timeframes:
            first_days = store.coverage.first_expected(timeframe, list(names))
            wanted = {calendar: _first_wanted(calendar, timeframe, horizon) for calendar in set(names.values())}
            for name, calendar in names.items():
                day, known = wanted[calendar], first_days.get(name)
                if day is not None and (known is None or known > day):
                    found.setdefault(name, None if known is None else day)
    return found


def untouched_history(store: Store, settings: Settings) -> dict[str, date]:
    """Active instruments with 1m bars of closed days that nothing has asked for, and the first such day of each.

    Not those of which nothing is expected yet: they are new. Raises as ``without_history`` does.
    """
    now = store.clock.now()
    found = {name: day for name, day in without_history(store, settings, [Timeframe.M1]).items() if day is not None}
    for venue, names in _calendars(store, settings).items():
        horizon = _horizon(settings_at(settings, venue), now)
        days = unasked_spans(store, Timeframe.M1, (None, midnight(now)), list(names), horizon)
        for name, start in days.group_by("instrument").agg(pl.col("start").min()).iter_rows():
            found[name] = min(start.date(), found.get(name, start.date()))
    return found


def _calendars(store: Store, settings: Settings) -> dict[str, dict[str, str]]:
    """The calendar of each active instrument, by the venue that its bars come from."""
    venues = collected_venues(settings)
    found: dict[str, dict[str, str]] = {}
    for row in store.instruments.list():
        venue = row.instrument.venue or venues[0]
        if venue in venues:
            found.setdefault(venue, {})[row.instrument.symbol] = row.instrument.calendar
    return found


def _horizon(settings: Settings, now: datetime) -> Horizon:
    return Horizon.of(now, settings.history_days, settings.settle_delay, plan.retention_policy(settings))


def _first_wanted(calendar: str, timeframe: Timeframe, horizon: Horizon) -> date | None:
    """The first day of which a bar is expected; None while none is over, with an hour to spare."""
    example = pl.DataFrame({"instrument": ["any"], "calendar": [calendar]})
    first = horizon.first_open(timeframe)
    until = min(horizon.now - timedelta(hours=1), first + _FEW_DAYS)
    if until <= first:
        return None
    cells = expected_cells(example, timeframe, first, until, horizon.settle)
    day = cells["day"].min()
    return day if isinstance(day, date) else None
