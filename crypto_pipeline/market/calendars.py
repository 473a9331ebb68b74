"""When an instrument trades: always, or in the sessions of its exchange."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, Protocol

from crypto_pipeline.market.gaps.arithmetic import merge_spans
from crypto_pipeline.market.timeframes import Timeframe, require_utc
from crypto_pipeline.market.times import midnight

_Span = tuple[datetime, datetime]


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


class SessionCalendar:
    """The sessions of an exchange by its code (XNYS, XLON …): daylight saving, holidays, half days and lunch breaks.

    A window is expected when any of it lies in a session. The bar of a day opens at 00:00 UTC of the session's date,
    the bar of a week on that week's Monday. Raises ValueError for an unknown code, or without the calendar library.
    """

    def __init__(self, code: str) -> None:
        self.name = code
        self._library = _library()
        if code not in self._library.get_calendar_names():
            raise ValueError(f"unknown calendar {code!r}: use 24/7 or the code of an exchange, for example XNYS")
        self._calendar: Any = None
        self._bounds = (date.max, date.min)

    def spans(self, timeframe: Timeframe, start: datetime, end: datetime) -> list[_Span]:
        """The session windows that open in ``[start, end)``."""
        first, last = timeframe.ceil(start), timeframe.ceil(end)
        return merge_spans(
            (max(begin, first), min(over, last)) for begin, over in self._windows(timeframe, first, last)
        )

    def _windows(self, timeframe: Timeframe, start: datetime, end: datetime) -> Iterator[_Span]:
        margin = timedelta(days=timeframe.cell_days + 1)
        for day, opened, closed in self._sessions((start - margin).date(), (end + margin).date()):
            if timeframe in (Timeframe.D1, Timeframe.W1):
                opens = timeframe.floor(midnight(day))
                yield opens, opens + timeframe.delta
            else:
                yield timeframe.floor(opened), timeframe.ceil(closed)

    def _sessions(self, first: date, last: date) -> Iterator[tuple[date, datetime, datetime]]:
        """(date, open, close) of each stretch of trading; two a day where there is a lunch break."""
        for session in self._covering(first, last).schedule.loc[str(first) : str(last)].itertuples():
            opened, closed = _utc(session.open), _utc(session.close)
            pause, resume = _utc(session.break_start), _utc(session.break_end)
            if opened is None or closed is None:
                continue
            if pause is None or resume is None:
                yield session.Index.date(), opened, closed
            else:
                yield session.Index.date(), opened, pause
                yield session.Index.date(), resume, closed

    def _covering(self, first: date, last: date) -> Any:
        """The library's calendar, built for at least these days: it refuses days outside those it was built for."""
        if first < self._bounds[0] or last > self._bounds[1]:
            low = min(first, self._bounds[0]) - timedelta(days=366)
            high = max(last, self._bounds[1]) + timedelta(days=366)
            self._calendar = self._library.get_calendar(self.name, start=str(low), end=str(high))
            self._bounds = (low, high)
        return self._calendar


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


def _utc(stamp: Any) -> datetime | None:
    """A pandas time as a UTC datetime; None for NaT, which is not equal to itself."""
    return None if stamp != stamp else require_utc(stamp.to_pydatetime())


def _library() -> Any:
    try:
        import exchange_calendars
    except ImportError as error:
        raise ValueError("trading sessions need a library: pip install 'crypto-pipeline[stocks]'") from error
    return exchange_calendars
