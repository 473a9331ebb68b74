"""When an instrument trades: always, or in the sessions of its exchange."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from crypto_pipeline.market.gaps.arithmetic import merge_spans
from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.market.times import midnight, unix_ms

_Span = tuple[datetime, datetime]
#: Exchanges open for a day at most so long before and after the UTC day of the same date.
_DAY = timedelta(days=1)
#: Extended hours: in New York trading begins at 04:00 and ends at 20:00, around a session from 09:30 to 16:00.
_BEFORE_SESSION, _AFTER_SESSION = timedelta(hours=5, minutes=30), timedelta(hours=4)


class Calendar(Protocol):
    """Decides which windows of a timeframe are expected to have a bar."""

    @property
    def name(self) -> str:
        """The name by which instruments refer to it."""

    def spans(self, timeframe: Timeframe, start: datetime, end: datetime) -> list[_Span]:
        """Half-open spans, edges on the timeframe's grid, of the expected windows that open in ``[start, end)``."""


class AlwaysOpen:
    """Twenty-four hours, every day."""

    name = "24/7"

    def spans(self, timeframe: Timeframe, start: datetime, end: datetime) -> list[_Span]:
        """The whole span, on the timeframe's grid."""
        first, last = timeframe.ceil(start), timeframe.ceil(end)
        return [(first, last)] if first < last else []


@dataclass(frozen=True, slots=True)
class Stretch:
    """One unbroken stretch of trading, in the session of ``day``; UTC."""

    day: date
    opens: datetime
    closes: datetime


@dataclass(frozen=True, slots=True)
class Closure:
    """A span in which an exchange that is usually open was closed: a holiday, an early close, a late opening."""

    day: date
    start: datetime
    end: datetime
    reason: str


class SessionCalendar:
    """The sessions of an exchange by its code (XNYS, XLON …): daylight saving, holidays, half days and lunch breaks.

    A window is expected when any of it lies in a session. The bar of a day opens at 00:00 UTC of the session's date,
    the bar of a week on that week's Monday. Trading before and after the session is never expected. Raises ValueError
    for an unknown code, or without the calendar library.
    """

    def __init__(self, code: str) -> None:
        self.name = code
        self._library = _library()
        if code not in self._library.get_calendar_names():
            raise ValueError(f"unknown calendar {code!r}: use 24/7 or the code of an exchange, for example XNYS")
        self._loaded = _Loaded(date.max, date.min, (), (), ())

    def spans(self, timeframe: Timeframe, start: datetime, end: datetime) -> list[_Span]:
        """The session windows that open in ``[start, end)``."""
        first, last = timeframe.ceil(start), timeframe.ceil(end)
        return merge_spans(
            (max(begin, first), min(over, last)) for begin, over in self._windows(timeframe, first, last)
        )

    def stretches(self, start: datetime, end: datetime) -> list[Stretch]:
        """The stretches of trading that touch ``[start, end)``; two a day where there is a lunch break."""
        loaded = self._covering((start - _DAY).date(), (end + _DAY).date())
        low, high = bisect_right(loaded.closes, start), bisect_left(loaded.opens, end)
        return list(loaded.stretches[low:high])

    def closures(self, first: date, last: date) -> list[Closure]:
        """Why weekdays of ``first`` to ``last`` have no session, or a shorter one than others of their year.

        A holiday's span is what the session would have been.
        """
        usual = self._usual(first, last)
        special = {stamp.date() for stamp in self._library.get_calendar(self.name).adhoc_holidays}
        sessions: dict[date, list[Stretch]] = {}
        for each in self.stretches(midnight(first) - _DAY, midnight(last) + 2 * _DAY):
            sessions.setdefault(each.day, []).append(each)
        found = []
        for day in (first + timedelta(days=n) for n in range((last - first).days + 1)):
            if day.weekday() not in usual:
                continue
            opens, closes = (self._local(day, minutes) for minutes in usual[day.weekday()])
            if day not in sessions:
                why = "closed by special order" if day in special else "holiday"
                found.append(Closure(day, opens, closes, f"{self.name} had no session on {day}: {why}"))
                continue
            began, ended = sessions[day][0].opens, sessions[day][-1].closes
            if ended < closes:
                why = f"{self.name} closed early on {day}, at {ended:%H:%M} UTC"
                found.append(Closure(day, ended, closes, why))
            if began > opens:
                why = f"{self.name} opened late on {day}, at {began:%H:%M} UTC"
                found.append(Closure(day, opens, began, why))
        return found

    def _usual(self, first: date, last: date) -> dict[int, tuple[int, int]]:
        """By weekday when a session usually begins and ends, in minutes of the exchange's day."""
        counts: dict[int, Counter[tuple[int, int]]] = {}
        days: dict[date, list[datetime]] = {}
        around = timedelta(days=180)
        for each in self.stretches(midnight(first) - around, midnight(last) + around):
            days.setdefault(each.day, []).extend((each.opens, each.closes))
        for day, times in days.items():
            base = self._local(day, 0)
            minutes = tuple(int((moment - base).total_seconds()) // 60 for moment in (min(times), max(times)))
            counts.setdefault(day.weekday(), Counter())[minutes] += 1  # type: ignore[index]  # two of them
        most = max((sum(one.values()) for one in counts.values()), default=0)
        # an exchange that opened on some Saturdays is not usually open on Saturdays
        return {day: one.most_common(1)[0][0] for day, one in counts.items() if sum(one.values()) * 2 > most}

    def _local(self, day: date, minutes: int) -> datetime:
        """So many minutes after midnight of a day at the exchange, by its wall clock, in UTC."""
        zone = self._library.get_calendar(self.name).tz
        wall = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(minutes=minutes)
        return require_utc(wall)

    def _windows(self, timeframe: Timeframe, start: datetime, end: datetime) -> Iterator[_Span]:
        margin = timedelta(days=timeframe.cell_days)
        for each in self.stretches(start - margin, end + margin):
            if timeframe in (Timeframe.D1, Timeframe.W1):
                opens = timeframe.floor(midnight(each.day))
                yield opens, opens + timeframe.delta
            else:
                yield timeframe.floor(each.opens), timeframe.ceil(each.closes)

    def _covering(self, first: date, last: date) -> _Loaded:
        """The sessions of at least these days, as far as the library has them. Kept: building them takes a second."""
        loaded = self._loaded
        if first < loaded.first or last > loaded.last:
            low = min(first, loaded.first) - timedelta(days=366)
            high = max(last, loaded.last) + timedelta(days=366)
            loaded = self._loaded = _load(self._library, self.name, low, high)
        return loaded


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The stretches of the days ``first`` to ``last``, in order, and their opens and closes for searching."""

    first: date
    last: date
    stretches: tuple[Stretch, ...]
    opens: tuple[datetime, ...]
    closes: tuple[datetime, ...]


def _load(library: Any, name: str, first: date, last: date) -> _Loaded:
    usual = library.get_calendar(name)
    least, most = usual.bound_min(), usual.bound_max()
    low = first if least is None else max(first, least.date())
    high = last if most is None else min(last, most.date())
    stretches = []
    for session in library.get_calendar(name, start=str(low), end=str(high)).schedule.itertuples():
        day, opened, closed = session.Index.date(), _utc(session.open), _utc(session.close)
        pause, resume = _utc(session.break_start), _utc(session.break_end)
        if opened is None or closed is None:
            continue
        if pause is None or resume is None:
            stretches.append(Stretch(day, opened, closed))
        else:
            stretches += [Stretch(day, opened, pause), Stretch(day, resume, closed)]
    opens = tuple(each.opens for each in stretches)
    closes = tuple(each.closes for each in stretches)
    return _Loaded(first, last, tuple(stretches), opens, closes)


ALWAYS = AlwaysOpen()


@lru_cache(maxsize=64)
def get_calendar(name: str) -> Calendar:
    """The calendar that an instrument names: ``24/7`` or an exchange code."""
    return ALWAYS if name == ALWAYS.name else SessionCalendar(name)


def expected_open_times(calendar: Calendar, timeframe: Timeframe, start: datetime, end: datetime) -> list[datetime]:
    """Every open time in ``[start, end)`` at which a bar is expected."""
    return [
        moment
        for begin, over in calendar.spans(timeframe, require_utc(start), require_utc(end))
        for moment in timeframe.open_times(begin, over)
    ]


def may_have_traded(calendar: Calendar, start: datetime, end: datetime) -> bool:
    """Whether anything may have traded in ``[start, end)``: in a session, or in the extended hours around one."""
    return bool(calendar.spans(Timeframe.M1, start - _AFTER_SESSION, end + _BEFORE_SESSION))


def outside_sessions(calendar: Calendar, timeframe: Timeframe, open_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of the bars that open at ``open_ms`` (Unix ms) are not expected: those of extended hours."""
    if not len(open_ms):
        return np.zeros(0, np.bool_)
    first, last = int(open_ms.min()), int(open_ms.max())
    start, end = (midnight(date(1970, 1, 1)) + timedelta(milliseconds=ms) for ms in (first, last + 1))
    edges = [unix_ms(edge) for each in calendar.spans(timeframe, start, end) for edge in each]
    outside: npt.NDArray[np.bool_] = np.searchsorted(np.array(edges, np.int64), open_ms, side="right") % 2 == 0
    return outside


def _utc(stamp: Any) -> datetime | None:
    """A pandas time as a UTC datetime; None for NaT, which is not equal to itself."""
    return None if stamp != stamp else require_utc(stamp.to_pydatetime())


def _library() -> Any:
    try:
        import exchange_calendars
    except ImportError as error:
        raise ValueError("trading sessions need a library: pip install 'crypto-pipeline[stocks]'") from error
    return exchange_calendars
