"""Sessions of exchanges: daylight saving, holidays, half days and closures by special order, held against LEAN's."""

from __future__ import annotations

import gzip
import json
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from crypto_pipeline.market.calendars import SessionCalendar, get_calendar, outside_sessions
from crypto_pipeline.market.gaps.sessions import closed_spans, inside_sessions, without_extended
from crypto_pipeline.market.gaps.span_frames import spans_from_rows
from crypto_pipeline.market.rollup import roll_up
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline_tests.builders import lean

M1, M5, H1, H4, D1 = Timeframe.M1, Timeframe.M5, Timeframe.H1, Timeframe.H4, Timeframe.D1
NEW_YORK = ZoneInfo("America/New_York")
HOURS = timedelta(hours=1)


@pytest.fixture
def new_york() -> SessionCalendar:
    calendar = get_calendar("XNYS")
    assert isinstance(calendar, SessionCalendar)
    return calendar


@pytest.fixture(scope="session")
def market_hours(recorded_data: Path) -> dict[str, Any]:
    text = gzip.decompress((recorded_data / "lean/market-hours/market-hours-database.json.gz").read_bytes())
    entry: dict[str, Any] = json.loads(text)["entries"]["Equity-usa-[*]"]
    return entry


def us_date(text: str) -> date:
    return datetime.strptime(text, "%m/%d/%Y").date()  # noqa: DTZ007


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def test_holidays_and_early_closes_of_29_years_are_those_of_lean(
    new_york: SessionCalendar, market_hours: dict[str, Any]
) -> None:
    first, last = date(1998, 1, 1), date(2026, 12, 31)
    closures = new_york.closures(first, last)
    holidays = {each.day for each in closures if "no session" in each.reason}
    stated = {us_date(text) for text in market_hours["holidays"]}
    assert holidays == {day for day in stated if first <= day <= last and day.weekday() < 5}
    early = {each.day: f"{each.start.astimezone(NEW_YORK):%H:%M:%S}" for each in closures if "early" in each.reason}
    theirs = {us_date(text): at for text, at in market_hours["earlyCloses"].items()}
    # three half days of 1998 and 1999 that LEAN's list does not have
    assert {day: early.pop(day) for day in (date(1998, 11, 27), date(1998, 12, 24), date(1999, 12, 31))}
    assert early == {day: at for day, at in theirs.items() if day <= last and day.weekday() < 5}
    assert all(each.end > each.start for each in closures)


def test_sessions_move_with_daylight_saving_on_both_days_of_the_year(new_york: SessionCalendar) -> None:
    assert new_york.spans(M1, utc(2024, 3, 8), utc(2024, 3, 12)) == [
        (utc(2024, 3, 8, 14, 30), utc(2024, 3, 8, 21)), (utc(2024, 3, 11, 13, 30), utc(2024, 3, 11, 20)),
    ]  # fmt: skip
    assert new_york.spans(M1, utc(2024, 11, 1), utc(2024, 11, 5)) == [
        (utc(2024, 11, 1, 13, 30), utc(2024, 11, 1, 20)), (utc(2024, 11, 4, 14, 30), utc(2024, 11, 4, 21)),
    ]  # fmt: skip


def test_half_days_special_closures_and_holidays_say_why(new_york: SessionCalendar) -> None:
    assert new_york.spans(M1, utc(2024, 11, 29), utc(2024, 11, 30)) == [
        (utc(2024, 11, 29, 14, 30), utc(2024, 11, 29, 18))
    ]
    (half,) = new_york.closures(date(2024, 11, 29), date(2024, 11, 29))
    assert (half.start, half.end) == (utc(2024, 11, 29, 18), utc(2024, 11, 29, 21))
    assert half.reason == "XNYS closed early on 2024-11-29, at 18:00 UTC"
    # the state funeral of 2025-01-09, announced ten days before; a hurricane in 2012
    (special,) = new_york.closures(date(2025, 1, 6), date(2025, 1, 10))
    assert special.reason == "XNYS had no session on 2025-01-09: closed by special order"
    assert [each.day.day for each in new_york.closures(date(2012, 10, 22), date(2012, 11, 2))] == [29, 30]
    (thanks,) = new_york.closures(date(2024, 11, 28), date(2024, 11, 28))
    assert thanks.reason.endswith("holiday")
    assert (thanks.start, thanks.end) == (utc(2024, 11, 28, 14, 30), utc(2024, 11, 28, 21))


def test_an_exchange_with_a_lunch_break_has_two_stretches() -> None:
    calendar = get_calendar("XHKG")
    assert calendar.spans(M1, utc(2024, 3, 7), utc(2024, 3, 8)) == [
        (utc(2024, 3, 7, 1, 30), utc(2024, 3, 7, 4)), (utc(2024, 3, 7, 5), utc(2024, 3, 7, 8)),
    ]  # fmt: skip


@pytest.mark.parametrize("ticker", ["spy", "aapl", "ibm"])
def test_recorded_minutes_fill_the_session_and_lie_partly_outside(recorded_data: Path, ticker: str) -> None:
    day = date(2014, 6, 6) if ticker == "aapl" else date(2013, 10, 8)
    bars = lean.minute_bars(recorded_data, ticker, day)
    outside = outside_sessions(get_calendar("XNYS"), M1, bars["open_time"].to_physical().to_numpy())
    local = bars["open_time"].dt.convert_time_zone("America/New_York")
    in_hours = local.dt.time().is_between(datetime(1, 1, 1, 9, 30).time(), datetime(1, 1, 1, 15, 59).time())  # noqa: DTZ001
    assert (outside == ~in_hours.to_numpy()).all()
    assert (~outside).sum() == 390
    assert outside.sum() == bars.height - 390 > 0


def test_outside_of_nothing_and_of_days_without_session() -> None:
    calendar = get_calendar("XNYS")
    assert outside_sessions(calendar, M1, np.array([], np.int64)).tolist() == []
    saturday = np.array([int(utc(2024, 3, 9, 15).timestamp() * 1000)])
    assert outside_sessions(calendar, M1, saturday).tolist() == [True]


def test_spans_are_cut_to_sessions_for_those_that_have_some() -> None:
    spans = spans_from_rows([
        ("AAPL", utc(2024, 3, 8), utc(2024, 3, 12)), ("BTC-USDT", utc(2024, 3, 8), utc(2024, 3, 9)),
    ])  # fmt: skip
    inside = inside_sessions(spans, M1, {"AAPL": "XNYS"})
    assert inside.rows() == [
        ("AAPL", utc(2024, 3, 8, 14, 30), utc(2024, 3, 8, 21)),
        ("AAPL", utc(2024, 3, 11, 13, 30), utc(2024, 3, 11, 20)),
        ("BTC-USDT", utc(2024, 3, 8), utc(2024, 3, 9)),
    ]
    assert inside_sessions(spans, M1, {}).rows() == spans.rows()
    closed = closed_spans(spans, H4, {"AAPL": "XNYS"})
    assert closed.rows() == [
        ("AAPL", utc(2024, 3, 8), utc(2024, 3, 8, 12)),
        ("AAPL", utc(2024, 3, 9), utc(2024, 3, 11, 12)),
        ("AAPL", utc(2024, 3, 11, 20), utc(2024, 3, 12)),
    ]


def test_a_day_is_rolled_up_from_its_session_alone(recorded_data: Path) -> None:
    """LEAN's daily bar of SPY has the session's prices; its minutes reach from 4:00 to 20:00 New York time."""
    bars = lean.minute_bars(recorded_data, "spy", date(2013, 10, 8))
    daily = lean.daily_bars(recorded_data, "spy").filter(pl.col("open_time") == utc(2013, 10, 8)).row(0, named=True)
    calendars = {"SPY": "XNYS"}
    session = bars.filter(~pl.Series(
        outside_sessions(get_calendar("XNYS"), M1, bars["open_time"].to_physical().to_numpy())))  # fmt: skip
    parts, part = bars, M1
    for target in (M5, Timeframe.M15, Timeframe.M30, H1, H4, D1):
        kept = without_extended(parts, part, target, calendars)
        parts, part = roll_up(kept, target), target
        if target is H1:
            hour = {at.hour: volume for at, volume in parts.select("open_time", "volume").iter_rows()}
            half = session.filter(pl.col("open_time").dt.hour() == 13)
            assert hour[13] == half["volume"].sum()  # from 13:30 on; the half before is of extended hours
            before = bars.filter(pl.col("open_time").dt.hour() == 12)
            assert hour[12] == before["volume"].sum()
    (row,) = parts.iter_rows(named=True)
    expected = roll_up(session, D1).row(0, named=True)
    for name in ("open", "high", "low", "close", "volume"):
        assert row[name] == pytest.approx(expected[name])
    assert (row["open"], row["high"]) == (daily["open"], daily["high"])
    assert (row["low"], row["close"]) == pytest.approx((daily["low"], daily["close"]), abs=0.02)


def test_bars_of_extended_hours_make_no_day_of_their_own() -> None:
    """After-hours trades of a Friday in winter reach into Saturday, UTC."""
    opens = [utc(2024, 1, 6, 0, 30)]
    bars = pl.DataFrame({"instrument": ["X"], "open_time": opens, "close": [1.0]}).cast(
        {"open_time": pl.Datetime("ms", "UTC")}
    )
    assert without_extended(bars, M1, D1, {"X": "XNYS"}).is_empty()
    assert without_extended(bars, M1, H1, {"X": "XNYS"}).height == 1


def test_questions_for_sessions_are_fast_once_the_calendar_is_there(new_york: SessionCalendar) -> None:
    new_york.spans(M1, utc(2024, 1, 1), utc(2024, 2, 1))
    begin = time.process_time()
    for _ in range(500):
        new_york.spans(M1, utc(2024, 1, 1), utc(2024, 1, 8))
    assert time.process_time() - begin < 0.5
