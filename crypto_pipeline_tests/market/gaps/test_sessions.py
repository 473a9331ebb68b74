"""Spans of instruments with sessions: the days for which a venue is asked."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as some

from crypto_pipeline.market.calendars import get_calendar
from crypto_pipeline.market.gaps.sessions import days_over_closures, inside_sessions
from crypto_pipeline.market.gaps.span_frames import spans_from_rows
from crypto_pipeline.market.timeframes import Timeframe

DAY = timedelta(days=1)
CALENDARS = {"AAPL": "XNYS", "MSFT": "XNYS"}
#: The week of Thanksgiving 2024: closed on Thursday 28th, a half day on Friday 29th, the weekend, and Monday.
MONDAY = datetime(2024, 11, 25, tzinfo=UTC)


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2024, 11, day, hour, minute, tzinfo=UTC)


def test_days_are_joined_over_holidays_and_weekends() -> None:
    sessions = [(name, at(day, 14, 30), at(day, 15)) for name in CALENDARS for day in (25, 26, 27, 29)]
    asked = days_over_closures(spans_from_rows([*sessions, ("AAPL", at(22, 20), at(22, 21))]), CALENDARS)
    # Saturday too: the last extended hour of Friday is 00:00 to 01:00 UTC
    saturday = at(30) + DAY
    assert asked.rows() == [("AAPL", at(22), saturday), ("MSFT", at(25), saturday)]


def test_a_day_that_is_stored_divides_what_is_asked_for() -> None:
    asked = days_over_closures(spans_from_rows([("AAPL", at(22, 15), at(22, 16)), ("AAPL", at(26), at(27))]), CALENDARS)
    # The weekend after Friday comes with it: nothing is stored there.
    assert asked.rows() == [("AAPL", at(22), at(25)), ("AAPL", at(26), at(27))]


@given(some.sets(some.integers(0, 40), min_size=1, max_size=20))
def test_every_missing_session_is_asked_for_and_no_other(days: set[int]) -> None:
    missing = spans_from_rows([("AAPL", MONDAY + n * DAY, MONDAY + (n + 1) * DAY) for n in sorted(days)])
    asked = days_over_closures(missing, CALENDARS)
    sessions = get_calendar("XNYS").spans(Timeframe.D1, MONDAY - 10 * DAY, MONDAY + 60 * DAY)
    held = {start.date() for start, _ in sessions if _holds(asked, start)}
    wanted = {(MONDAY + n * DAY).date() for n in days}
    assert held == wanted & {start.date() for start, _ in sessions}
    assert inside_sessions(asked, Timeframe.D1, CALENDARS).equals(inside_sessions(missing, Timeframe.D1, CALENDARS))
    assert all(_holds(asked, datetime(day.year, day.month, day.day, tzinfo=UTC)) for day in wanted)


def _holds(spans: pl.DataFrame, moment: datetime) -> bool:
    return spans.filter((pl.col("start") <= moment) & (pl.col("end") > moment)).height == 1


def test_a_year_of_days_is_one_span() -> None:
    year = get_calendar("XNYS").spans(Timeframe.D1, datetime(2024, 1, 2, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    asked = days_over_closures(spans_from_rows([("AAPL", *each) for each in year]), CALENDARS)
    assert asked.height == 1
    assert asked["start"].item().date() == date(2024, 1, 2)
