"""How overdue the newest bar of each instrument and timeframe is, by its calendar, and which series have too few."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import polars as pl

from crypto_pipeline.healing import plan
from crypto_pipeline.healing.plan import EXPLAINED, Horizon
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.calendars import get_calendar
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store

Level = Literal["ok", "warning", "error", "critical"]
#: Columns of ``ages``. ``known_to``: end of the newest bar that is stored or explained. ``overdue``: for how long the
#: first bar after that has been due; zero when none is expected.
AGE_SCHEMA: dict[str, pl.DataType] = {
    "instrument": pl.String(),
    "timeframe": pl.String(),
    "open_time": UTC_MS,
    "known_to": UTC_MS,
    "overdue": pl.Duration("ms"),
    "level": pl.String(),
}
_HOUR = timedelta(hours=1)
#: Explanations that reach to now are read from so far back.
_EXPLAINED_SINCE = timedelta(days=8)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How long a bar may be overdue.

    Attributes:
        ok: Less is no finding; from here on a warning.
        warn: From here on an error.
        critical: Beyond it: critical.
    """

    ok: timedelta
    warn: timedelta
    critical: timedelta

    @classmethod
    def of(cls, settings: Settings) -> Thresholds:
        """The thresholds of the settings."""
        seconds = settings.freshness_ok, settings.freshness_warn, settings.freshness_critical
        return cls(*(timedelta(seconds=each) for each in seconds))

    def level(self, overdue: timedelta) -> Level:
        """The level of a bar that is overdue for so long."""
        if overdue < self.ok:
            return "ok"
        return "warning" if overdue < self.warn else "error" if overdue <= self.critical else "critical"


def ages(
    store: Store, timeframe: Timeframe, horizon: Horizon, thresholds: Thresholds, venue: str | None = None
) -> pl.DataFrame:
    """Every active instrument's newest bar and how overdue the next one is: AGE_SCHEMA, the most overdue first.

    With ``venue`` only of its series.

    A bar is due when its window is over and has settled, in the sessions of the instrument's calendar only: no bar
    of a stock is due on a Sunday. An hourly bar is overdue when its hour is over, not when it is an hour old. No bar is
    overdue for longer than its instrument has been collected. Raises StoreError.
    """
    settled = horizon.settled_end(timeframe)
    first = horizon.first_open(timeframe)
    newest = store.audit.newest(timeframe)
    explained = store.ledger.open(
        timeframe=timeframe, states=list(EXPLAINED), start=settled - _EXPLAINED_SINCE, end=settled
    )
    reach = dict(explained.group_by("instrument").agg(pl.col("end").max()).iter_rows())
    active = {row.instrument.symbol: row for row in store.instruments.list(venue=venue)}
    rows = []
    for name, opened in (
        newest.filter(pl.col("instrument").is_in(list(active))).select("instrument", "open_time").iter_rows()
    ):
        covered = [opened + timeframe.delta] if opened is not None else []
        known = max([first, *covered, *([reach[name]] if name in reach else [])])
        overdue = _overdue(active[name].instrument.calendar, timeframe, known, settled, horizon)
        if timedelta(0) < (collected := horizon.now - active[name].added_at) < overdue:
            overdue = collected  # no bar was due before its instrument was added
        rows.append((name, str(timeframe), opened, known, overdue, thresholds.level(overdue)))
    return pl.DataFrame(rows, schema=AGE_SCHEMA, orient="row").sort("overdue", "instrument", descending=[True, False])


def _overdue(calendar: str, timeframe: Timeframe, known: datetime, settled: datetime, horizon: Horizon) -> timedelta:
    if known >= settled:
        return timedelta(0)
    expected = get_calendar(calendar).spans(timeframe, known, settled)
    if not expected:
        return timedelta(0)
    return horizon.now - horizon.settle - (expected[0][0] + timeframe.delta)


def thin(store: Store, horizon: Horizon, bars: int, venue: str | None = None) -> list[str]:
    """Active instruments of which fewer than ``bars`` 1m bars of the last hour are stored or explained.

    With ``venue`` only of its series.

    Where the calendar expects fewer bars, these are enough. ``coverage.expected`` must be up to date.
    """
    calendars = {row.instrument.symbol: row.instrument.calendar for row in store.instruments.list(venue=venue)}
    end = horizon.settled_end(Timeframe.M1)
    start = max(end - _HOUR, horizon.first_open(Timeframe.M1))
    missing = plan.missing(store, Timeframe.M1, (start, end), list(calendars), horizon)
    short = []
    for (name,), rows in missing.partition_by("instrument", as_dict=True).items():
        spans = get_calendar(calendars[name]).spans(Timeframe.M1, start, end)
        expected = sum(Timeframe.M1.count(*each) for each in spans)
        absent = sum(Timeframe.M1.count(*each) for each in rows.select("start", "end").iter_rows())
        if expected - absent < min(bars, expected):
            short.append(str(name))
    return sorted(short)
