"""Vintages: which value of a period was the newest in which days, since when it was known, and how revisions merge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from zoneinfo import ZoneInfo

_DAY = timedelta(days=1)


class AvailabilityBasis(StrEnum):
    """How it is known since when a value was public."""

    #: The hour of a release whose calendar has the day.
    RELEASE = "release"
    #: The end of the vintage's day.
    DAY_END = "day_end"
    #: It was fetched then: it was public by that time.
    OBSERVED = "observed"


@dataclass(frozen=True, slots=True)
class Vintage:
    """A value of one period, as it was stated in the days from ``start`` to ``end``, both included.

    ``period``: first day of the period. ``value`` is None where the source states that there is none. ``end`` is None
    while it is the newest.
    """

    period: date
    value: float | None
    start: date
    end: date | None


@dataclass(frozen=True, slots=True)
class StoredVintage:
    """A vintage with the moment (UTC) from which on it may be used, and how that moment is known."""

    vintage: Vintage
    available_at: datetime
    basis: AvailabilityBasis

    @property
    def key(self) -> tuple[date, date]:
        """Period and first day: no two stored vintages of a series have the same."""
        return self.vintage.period, self.vintage.start


@dataclass(frozen=True, slots=True)
class Availability:
    """When values of a series become public. ``release_dates``: its release calendar. ``observed_at``: now, UTC."""

    zone: str
    observed_at: datetime
    release_dates: frozenset[date] = frozenset()
    release_time: time | None = None
    release_zone: str = "America/New_York"

    def public_from(self, day: date) -> tuple[datetime, AvailabilityBasis]:
        """When the vintage of ``day`` was public, UTC: never before it was, at most until the end of that day."""
        stated, basis = day_end(day, self.zone), AvailabilityBasis.DAY_END
        if self.release_time is not None and day in self.release_dates:
            local = datetime.combine(day, self.release_time, ZoneInfo(self.release_zone))
            stated, basis = local.astimezone(UTC), AvailabilityBasis.RELEASE
        seen_on_its_day = day_end(day - _DAY, self.zone) <= self.observed_at < stated
        return (self.observed_at, AvailabilityBasis.OBSERVED) if seen_on_its_day else (stated, basis)

    def observed(self) -> tuple[datetime, AvailabilityBasis]:
        """The time of fetching, for values without vintages."""
        return self.observed_at, AvailabilityBasis.OBSERVED


@dataclass(frozen=True, slots=True)
class VintageChanges:
    """Rows to write (new, or with another end or value), and rows as they were before they were restated."""

    write: tuple[StoredVintage, ...]
    replaced: tuple[StoredVintage, ...]
    #: Of the replaced ones, those whose key nothing has any more.
    removed: tuple[StoredVintage, ...]


def day_end(day: date, zone: str) -> datetime:
    """The midnight that ends ``day`` in ``zone``, UTC."""
    return datetime.combine(day + _DAY, time(), ZoneInfo(zone)).astimezone(UTC)


def today(now: datetime, zone: str) -> date:
    """The day in ``zone`` that holds ``now``."""
    return now.astimezone(ZoneInfo(zone)).date()


def contradiction(stated: Sequence[Vintage]) -> str:
    """The contradiction in vintages of one period: an end before its start, or two values on one day; else empty."""
    ordered = sorted(stated, key=lambda one: one.start)
    for one in ordered:
        if one.end is not None and one.end < one.start:
            return f"{one.period}: a value from {one.start} until {one.end}"
    for earlier, later in pairwise(ordered):
        if earlier.end is None or earlier.end >= later.start:
            return f"{later.period}: two values on {later.start}"
    return ""


def join_vintages(stated: Iterable[Vintage]) -> list[Vintage]:
    """The same vintages, those of one period and value that follow each other or overlap made one.

    So are answers about neighbouring days put together, each of which cuts its vintages at its edges. By period and
    first day.
    """
    joined: list[Vintage] = []
    for one in sorted(stated, key=lambda one: (one.period, one.start)):
        last = joined[-1] if joined else None
        if last is None or (last.period, last.value) != (one.period, one.value) or not _reaches(last, one.start):
            joined.append(one)
        elif last.end is not None and (one.end is None or one.end > last.end):
            joined[-1] = replace(last, end=one.end)
    return joined


def _reaches(one: Vintage, day: date) -> bool:
    return one.end is None or one.end + _DAY >= day


def merge_vintages(
    stored: Iterable[StoredVintage],
    stated: Iterable[Vintage],
    availability: Availability,
    *,
    observed: bool = False,
) -> VintageChanges:
    """The changes of stored rows when a source states ``stated``, whose first days may be cut at that of the request.

    From its first stated day on a period is as stated. Before that, and for periods of which nothing is stated, what
    is stored stays: a value ends only where a statement ends it. ``stated`` must be free of ``contradiction``.
    ``observed``: all that is known of when it was public is that it has been fetched now.
    """
    before: dict[date, list[StoredVintage]] = defaultdict(list)
    for row in stored:
        before[row.vintage.period].append(row)
    after: dict[date, list[Vintage]] = defaultdict(list)
    for one in stated:
        after[one.period].append(one)
    write: list[StoredVintage] = []
    replaced: list[StoredVintage] = []
    removed: list[StoredVintage] = []
    for period, vintages in after.items():
        old = {row.key: row for row in before[period]}
        new = _merged(old.values(), sorted(vintages, key=lambda one: one.start), availability, observed)
        for key, row in new.items():
            was = old.get(key)
            if was is None or was.vintage != row.vintage:
                write.append(row)
            if was is not None and was.vintage.value != row.vintage.value:
                replaced.append(was)
        removed += [row for key, row in old.items() if key not in new]
    return VintageChanges(tuple(write), (*replaced, *removed), tuple(removed))


def _merged(
    old: Iterable[StoredVintage], stated: Sequence[Vintage], availability: Availability, observed: bool
) -> dict[tuple[date, date], StoredVintage]:
    """The rows of one period afterwards, by key. Neighbours in time with one value become one row."""
    first = stated[0].start
    rows: list[StoredVintage] = []
    known = {row.key: row for row in old}
    for row in sorted(known.values(), key=lambda row: row.key):
        one = row.vintage
        if one.start < first:
            reaches = one.end is None or one.end >= first
            rows.append(replace(row, vintage=replace(one, end=first - _DAY)) if reaches else row)
    for one in stated:
        last = rows[-1].vintage if rows else None
        if last is not None and last.value == one.value and _reaches(last, one.start):
            rows[-1] = replace(rows[-1], vintage=replace(last, end=one.end))
            continue
        was = known.get((one.period, one.start))
        if was is not None and was.vintage.value == one.value:
            rows.append(replace(was, vintage=one))
        else:
            # A value that took the place of another within its day was not public before it was seen.
            seen = observed or was is not None
            known_at = availability.observed() if seen else availability.public_from(one.start)
            rows.append(StoredVintage(one, *known_at))
    return {row.key: row for row in rows}


def snapshot_vintages(
    stored: Iterable[StoredVintage], values: Iterable[tuple[date, float | None]], day: date
) -> list[Vintage]:
    """Values without vintages, as stated on ``day``: those that differ from the newest ones that are stored."""
    newest: dict[date, StoredVintage] = {}
    for row in stored:
        if row.vintage.end is None:
            newest[row.vintage.period] = row
    return [
        Vintage(period, value, max(day, newest[period].vintage.start) if period in newest else day, None)
        for period, value in values
        if period not in newest or newest[period].vintage.value != value
    ]
