"""The grid of open times, and the table of timeframes."""

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.market import UTC_MS, Timeframe, parse_time

TIMEFRAMES = st.sampled_from(list(Timeframe))
MOMENTS = st.datetimes(datetime(1969, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(tzinfo=UTC, microsecond=moment.microsecond // 1000 * 1000)
)


@given(TIMEFRAMES, MOMENTS)
def test_a_moment_lies_in_exactly_the_bar_that_floor_names(timeframe: Timeframe, moment: datetime) -> None:
    opened = timeframe.floor(moment)
    assert opened <= moment < opened + timeframe.delta == timeframe.next(moment)
    assert timeframe.floor(opened) == timeframe.ceil(opened) == opened
    assert timeframe.ceil(moment) in (opened, timeframe.next(moment))
    assert (timeframe.ceil(moment) == moment) == (opened == moment)


@given(MOMENTS)
def test_days_open_at_midnight_and_weeks_on_mondays(moment: datetime) -> None:
    assert Timeframe.D1.floor(moment).time() == datetime.min.time()
    week = Timeframe.W1.floor(moment)
    assert week.weekday() == 0
    assert week.time() == datetime.min.time()


@given(TIMEFRAMES, st.lists(MOMENTS, min_size=1, max_size=20))
def test_polars_floors_as_python_does(timeframe: Timeframe, moments: list[datetime]) -> None:
    frame = pl.DataFrame({"open_time": moments}, schema={"open_time": UTC_MS})
    assert frame.select(timeframe.floor_expr()).to_series().to_list() == [timeframe.floor(moment) for moment in moments]


@given(TIMEFRAMES, MOMENTS, st.integers(-5, 40), st.integers(-90_000, 90_000))
def test_count_counts_open_times(timeframe: Timeframe, start: datetime, bars: int, seconds: int) -> None:
    end = start + bars * timeframe.delta + timedelta(seconds=seconds % timeframe.seconds)
    opens = list(timeframe.open_times(start, end))
    assert timeframe.count(start, end) == len(opens)
    assert all(start <= moment < end and timeframe.floor(moment) == moment for moment in opens)


@given(TIMEFRAMES, MOMENTS, st.integers(-12, 14))
def test_a_zone_changes_nothing(timeframe: Timeframe, moment: datetime, hours: int) -> None:
    elsewhere = moment.astimezone(timezone(timedelta(hours=hours)))
    assert timeframe.floor(elsewhere) == timeframe.floor(moment)


def test_bad_words_are_named() -> None:
    with pytest.raises(ValueError, match=r"'7m'.*1m, 5m"):
        Timeframe.parse("7m")
    with pytest.raises(ValueError, match="naive time 2026-01-01"):
        Timeframe.M1.floor(datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="'yesterday'"):
        parse_time("yesterday")
    assert parse_time("2026-01-31") == parse_time("2026-01-31T01:00+01:00") == datetime(2026, 1, 31, tzinfo=UTC)
