"""A series of the replayed FRED: facts, publications in order of time, and days of releases."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("America/Chicago")
#: FRED's last day of a vintage that is still the newest.
OPEN_END = date(9999, 12, 31)
_DAY = timedelta(days=1)

#: By period, in order of time: first and last day, value.
Vintages = dict[date, list[tuple[date, date, str]]]


@dataclass(frozen=True, slots=True)
class Facts:
    """What ``/fred/series`` states. ``hour``: when the release comes out, in New York."""

    series_id: str
    title: str
    units: str
    units_short: str
    frequency: str
    frequency_short: str
    seasonal_adjustment_short: str
    release_id: int
    release_name: str
    hour: time


@dataclass(frozen=True, slots=True)
class Publication:
    """Values that were published together at ``at`` (UTC): by period, as FRED writes them, ``.`` where there is none.

    ``calendar``: it was a release that the calendar has; the others are corrections between releases.
    """

    at: datetime
    values: dict[date, str]
    calendar: bool = True

    @property
    def day(self) -> date:
        """The day of the vintage, in Chicago."""
        return self.at.astimezone(ZONE).date()


@dataclass(frozen=True)
class FredSeries:
    """One series: its facts, publications in order of time (no two on one day), and planned releases."""

    facts: Facts
    publications: list[Publication]
    #: The vintages by the number of publications that are out; only the newest are kept.
    _newest: dict[int, Vintages] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def _times(self) -> list[datetime]:
        return [one.at for one in self.publications]

    def published(self, now: datetime) -> list[Publication]:
        """The publications until ``now``."""
        return self.publications[: bisect_right(self._times, now)]

    def vintages(self, now: datetime) -> Vintages:
        """Of each period the days from and to which each value was the newest, with the value, as of ``now``."""
        published = self.published(now)
        if self._newest.get(len(published)) is None:  # every page of an answer asks for the same
            self._newest.clear()
            self._newest[len(published)] = self._vintages_of(published)
        return self._newest[len(published)]

    def _vintages_of(self, published: list[Publication]) -> Vintages:
        found: Vintages = {}
        for one in published:
            for period, value in one.values.items():
                rows = found.setdefault(period, [])
                if rows and rows[-1][2] == value:
                    continue
                if rows:
                    rows[-1] = (rows[-1][0], one.day - _DAY, rows[-1][2])
                rows.append((one.day, OPEN_END, value))
        return found

    def vintage_days(self, now: datetime) -> list[date]:
        """Days on which a value was new or changed."""
        return sorted({row[0] for rows in self.vintages(now).values() for row in rows})

    def release_days(self) -> list[date]:
        """Days of the release calendar, past and to come."""
        return [one.day for one in self.publications if one.calendar]

    def known(self, now: datetime) -> dict[date, str]:
        """The newest value of each period that is out by ``now``."""
        found: dict[date, str] = {}
        for one in self.published(now):
            found |= one.values
        return found


def at_hour(day: date, hour: time) -> datetime:
    """That hour in New York on that day, UTC."""
    return datetime.combine(day, hour, ZoneInfo("America/New_York")).astimezone(UTC)


def weekday(day: date) -> date:
    """The day, or the Monday after it."""
    return day + timedelta(days=max(0, 7 - day.weekday()) if day.weekday() > 4 else 0)


def add_months(day: date, months: int) -> date:
    """First day of the month so many months after that of ``day``."""
    month = day.year * 12 + day.month - 1 + months
    return date(month // 12, month % 12 + 1, 1)
