"""Unix milliseconds, midnights and months of datetimes."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.market.times import EPOCH, from_unix_ms, midnight, month_number, month_start, unix_ms

_LAST_MS = 4_102_444_800_000  # 2100-01-01
moments = st.integers(-_LAST_MS, _LAST_MS).flatmap(
    lambda ms: st.integers(0, 999).map(lambda us: from_unix_ms(ms) + timedelta(microseconds=us))
)


@given(st.integers(-_LAST_MS, _LAST_MS))
def test_milliseconds_come_back_exactly(ms: int) -> None:
    assert unix_ms(from_unix_ms(ms)) == ms


@given(moments)
def test_milliseconds_are_rounded_down(moment: datetime) -> None:
    assert timedelta(0) <= moment - from_unix_ms(unix_ms(moment)) < timedelta(milliseconds=1)


@given(moments, st.integers(-14, 14))
def test_midnight_is_that_of_the_utc_day_in_whatever_zone_the_time_is_written(moment: datetime, hours: int) -> None:
    elsewhere = moment.astimezone(timezone(timedelta(hours=hours)))
    assert midnight(elsewhere) == midnight(moment) == midnight(moment.date())
    assert timedelta(0) <= moment - midnight(moment) < timedelta(days=1)


@given(moments)
def test_a_month_begins_at_or_before_its_days_and_ends_after_them(moment: datetime) -> None:
    month = month_number(moment)
    assert month == month_number(moment.date())
    assert month_start(month) <= moment < month_start(month + 1)


def test_counting_begins_in_1970() -> None:
    assert (EPOCH, month_number(date(1970, 1, 31)), month_start(0)) == (from_unix_ms(0), 0, EPOCH)


def test_a_naive_time_is_refused() -> None:
    naive = EPOCH.replace(tzinfo=None)
    with pytest.raises(ValueError, match="naive"):
        midnight(naive)
    with pytest.raises(TypeError):
        unix_ms(naive)
