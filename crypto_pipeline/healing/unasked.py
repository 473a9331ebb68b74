"""Expected bars that nothing has asked for yet: days that a longer history made expected, or that no run came to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime, timedelta

import polars as pl

from crypto_pipeline.healing import plan
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.market import expected_cells
from crypto_pipeline.market.gaps.arithmetic import subtract
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.coverage.ledger import GAP_SCHEMA
from crypto_pipeline.venues import collected_venues, settings_at

#: Begin and end of a span, UTC; None: as far as bars are expected.
Bounds = tuple[datetime | None, datetime | None]
#: The state of such bars beside the rows of the ledger.
UNASKED = "unasked"
BECAUSE = "Expected, and not asked for yet: a run that fills history asks for it; `crypto-pipeline backfill` does now."
#: A bar that has just become due is no bar that nothing asks for.
_SETTLE = timedelta(minutes=5)
#: The first expected day is looked for in so many days of a calendar.
_FEW_DAYS = timedelta(days=21)


def with_unasked(
    store: Store, gaps: pl.DataFrame, instruments: Sequence[str], timeframes: Sequence[Timeframe], bounds: Bounds
) -> pl.DataFrame:
    """``gaps`` (GAP_SCHEMA), and a row for each span of expected bars that has no row of the ledger yet."""
    first, _ = store.coverage.span()
    if first is None:
        return gaps
    horizon = Horizon(first - timedelta(days=7), store.clock.now(), _SETTLE)  # weeks begin before
    found = [
        _unasked(store, timeframe, bounds, instruments, horizon).with_columns(
            pl.lit(str(timeframe)).alias("timeframe"),
            ((pl.col("end") - pl.col("start")).dt.total_milliseconds() // timeframe.milliseconds).alias("bars"),
        )
        for timeframe in timeframes
    ]
    rows = pl.concat(found)
    if rows.is_empty():
        return gaps
    stated = {"state": UNASKED, "evidence": json.dumps({"because": BECAUSE, "rule": UNASKED})}
    values = [pl.lit(stated.get(name), kind).alias(name) for name, kind in GAP_SCHEMA.items() if name not in rows]
    typed = rows.with_columns(values).select(list(GAP_SCHEMA)).cast(dict(gaps.schema))  # type: ignore[arg-type]
    return pl.concat([gaps, typed]).sort("instrument", "timeframe", "start")


def _unasked(
    store: Store, timeframe: Timeframe, bounds: Bounds, instruments: Sequence[str], horizon: Horizon
) -> pl.DataFrame:
    absent = plan.missing(store, timeframe, horizon.clip(timeframe, *bounds), instruments, horizon)
    if absent.is_empty():
        return absent
    return subtract(absent, plan.ledger_spans(store, timeframe, plan.OPEN_UNEXPLAINED, absent))


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
        days = _unasked(store, Timeframe.M1, (None, midnight(now)), list(names), horizon)
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
