"""Reads the bodies of FRED's API and of its plain CSV files: a row that cannot be read costs only itself."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import msgspec

from crypto_pipeline.market.macro.vintages import Vintage, contradiction
from crypto_pipeline.venues.decoding import UNREADABLE, decode, quoted, raw_rows
from crypto_pipeline.venues.protocol import MalformedAnswer, RejectedRow

T = TypeVar("T")

#: Texts of FRED for a missing value.
_NO_VALUE = frozenset({".", ""})
#: The last day of a vintage that is still the newest.
OPEN_END = date(9999, 12, 31)
#: A larger figure in a macro series is none.
_LARGEST = 1e18
#: FRED leaves out the minutes of its zone: -05 for -05:00.
_SHORT_ZONE = re.compile(r"[+-]\d\d$")


class _Fields(msgspec.Struct):
    id: str
    title: str
    frequency_short: str
    units: str
    seasonal_adjustment_short: str
    last_updated: str


class _SeriesBody(msgspec.Struct):
    seriess: list[_Fields]


class _Release(msgspec.Struct):
    id: int
    name: str


class _ReleaseBody(msgspec.Struct):
    releases: list[_Release]


class _VintageBody(msgspec.Struct):
    count: int
    vintage_dates: list[date]


class _ReleaseDay(msgspec.Struct):
    date: date


class _CalendarBody(msgspec.Struct):
    count: int
    release_dates: list[_ReleaseDay]


class _ObservationsBody(msgspec.Struct):
    count: int
    observations: msgspec.Raw


class _Row(msgspec.Struct):
    realtime_start: date
    realtime_end: date
    date: date
    value: str


class _Error(msgspec.Struct):
    error_code: int
    error_message: str


_SERIES = msgspec.json.Decoder(_SeriesBody)
_RELEASE = msgspec.json.Decoder(_ReleaseBody)
_VINTAGES = msgspec.json.Decoder(_VintageBody)
_CALENDAR = msgspec.json.Decoder(_CalendarBody)
_OBSERVATIONS = msgspec.json.Decoder(_ObservationsBody)
_ROW = msgspec.json.Decoder(_Row)
_ERROR = msgspec.json.Decoder(_Error)


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """Facts of a series. ``frequency``: D, W, BW, M, Q, SA or A. ``last_updated``: UTC."""

    series_id: str
    title: str
    units: str
    frequency: str
    seasonal_adjustment: str
    last_updated: datetime


@dataclass(frozen=True, slots=True)
class DayPage:
    """A page of days, and how many there are on all pages."""

    days: list[date]
    count: int


@dataclass(frozen=True, slots=True)
class ObservationPage:
    """A page of observations: rows stated on it, how many there are on all pages, and those that cannot be."""

    vintages: list[Vintage]
    rows: int
    count: int
    refused: tuple[RejectedRow, ...]


def parse_series(body: bytes) -> SeriesFacts:
    """The one series of an answer. Raises MalformedAnswer."""
    found = decode(_SERIES, body, "series").seriess
    if len(found) != 1:
        raise MalformedAnswer(f"series: {len(found)} series for one")
    one = found[0]
    frequency = one.frequency_short.partition(",")[0].strip()
    return SeriesFacts(
        one.id, one.title, one.units, frequency, one.seasonal_adjustment_short, _moment(one.last_updated)
    )


def parse_release(body: bytes) -> tuple[int, str]:
    """Number and name of the release that a series belongs to. Raises MalformedAnswer."""
    found = decode(_RELEASE, body, "release").releases
    if not found:
        raise MalformedAnswer("release: the series belongs to none")
    return found[0].id, found[0].name


def parse_vintage_dates(body: bytes) -> DayPage:
    """First days of vintages. Raises MalformedAnswer."""
    found = decode(_VINTAGES, body, "vintagedates")
    return DayPage(found.vintage_dates, found.count)


def parse_release_dates(body: bytes) -> DayPage:
    """Days of a release. Raises MalformedAnswer."""
    found = decode(_CALENDAR, body, "release dates")
    return DayPage([one.date for one in found.release_dates], found.count)


def parse_observations(body: bytes, last_day: date) -> ObservationPage:
    """Values with the days in which each was the newest, of an answer about days until ``last_day``.

    Raises MalformedAnswer where the body is none, or nothing of it can be read.
    """
    found = decode(_OBSERVATIONS, body, "observations")
    rows = raw_rows(found.observations, "observations")
    good, refused = _each(rows, lambda raw: _vintage(_ROW.decode(raw), last_day), "observations")
    if rows and not good:
        raise MalformedAnswer(refused[0].reason)
    return ObservationPage(good, len(rows), found.count, tuple(refused))


def without_contradictions(vintages: Iterable[Vintage]) -> tuple[list[Vintage], list[RejectedRow]]:
    """Vintages of periods that are free of contradictions, and the reason for each period that is refused."""
    periods: dict[date, list[Vintage]] = {}
    for one in vintages:
        periods.setdefault(one.period, []).append(one)
    good: list[Vintage] = []
    refused: list[RejectedRow] = []
    for same in periods.values():
        if why := contradiction(same):
            refused.append(RejectedRow(None, f"contradicts itself: {why}"))
        else:
            good += same
    return good, refused


def parse_csv(body: bytes, series_id: str) -> tuple[list[tuple[date, float | None]], list[RejectedRow]]:
    """Period and newest value of each row, and rows that cannot be. Raises MalformedAnswer where it is no such file."""
    lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig", "replace"))))
    header = [name.strip().lower() for name in lines[0]] if lines else []
    if len(header) != 2 or header[0] not in ("date", "observation_date") or header[1] != series_id.lower():
        raise MalformedAnswer(f"CSV of {series_id}: it begins with {quoted(body[:80])!r}")
    good, refused = _each(lines[1:], _csv_row, f"CSV of {series_id}")
    if not good:
        raise MalformedAnswer(f"CSV of {series_id}: no row can be read")
    twice = {period for period, count in Counter(period for period, _ in good).items() if count > 1}
    refused += [RejectedRow(None, f"CSV of {series_id}: {period} is there twice") for period in sorted(twice)]
    return [row for row in good if row[0] not in twice], refused


def error_text(body: bytes) -> str:
    """The message of an error body; empty where it cannot be read."""
    try:
        return " ".join(_ERROR.decode(body).error_message.split())
    except UNREADABLE:
        return ""


def _each(rows: Sequence[Any], read: Callable[[Any], T], where: str) -> tuple[list[T], list[RejectedRow]]:
    good: list[T] = []
    refused: list[RejectedRow] = []
    for place, row in enumerate(rows):
        try:
            good.append(read(row))
        except UNREADABLE as error:
            refused.append(RejectedRow(None, f"{where}, row {place}: {error}", quoted(row)))
    return good, refused


def _vintage(row: _Row, last_day: date) -> Vintage:
    if row.realtime_end < row.realtime_start:
        raise ValueError(f"it was the newest from {row.realtime_start} until {row.realtime_end}")
    is_newest = row.realtime_end >= last_day == OPEN_END
    return Vintage(row.date, _value(row.value), row.realtime_start, None if is_newest else row.realtime_end)


def _csv_row(row: list[str]) -> tuple[date, float | None]:
    period, value = row
    return date.fromisoformat(period.strip()), _value(value)


def _value(text: str) -> float | None:
    if text.strip() in _NO_VALUE:
        return None
    value = float(text)
    if not math.isfinite(value) or abs(value) > _LARGEST:
        raise ValueError(f"the value {text[:40]!r} is no figure")
    return value


def _moment(text: str) -> datetime:
    """``2026-05-28 07:46:03-05``, UTC. Raises MalformedAnswer."""
    whole = f"{text}:00" if _SHORT_ZONE.search(text) else text
    try:
        moment = datetime.fromisoformat(whole)
    except ValueError:
        raise MalformedAnswer(f"last_updated: {quoted(text)!r} is no time") from None
    if moment.tzinfo is None:
        raise MalformedAnswer(f"last_updated: {quoted(text)!r} has no zone")
    return moment.astimezone(UTC)
