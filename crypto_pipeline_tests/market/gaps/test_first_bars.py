"""Where history begins, width by width."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.market import Timeframe
from crypto_pipeline.market.gaps.first_bars import FirstBars

FIRST = datetime(2021, 4, 10, 20, 16, tzinfo=UTC)
EARLIER = datetime(2021, 2, 25, tzinfo=UTC)


def test_all_widths_begin_with_the_listing_where_nothing_else_is_known() -> None:
    first = FirstBars(FIRST)
    assert first.of(Timeframe.M5) == first.expected(Timeframe.M5) == datetime(2021, 4, 10, 20, 15, tzinfo=UTC)
    assert first.begin_together(Timeframe.M1, Timeframe.M5)
    assert FirstBars().expected(Timeframe.M1) is None
    assert FirstBars().begin_together(Timeframe.M1, Timeframe.M5)


def test_wider_bars_may_begin_long_before_the_first_minute() -> None:
    text = json.dumps({"1m": FIRST.isoformat(), "5m": EARLIER.isoformat(), "15m": "2021-04-10T20:30:00+00:00"})
    first = FirstBars.read(FIRST, text)
    assert first.expected(Timeframe.M1) == FIRST
    assert first.expected(Timeframe.M5) == EARLIER
    assert not first.begin_together(Timeframe.M1, Timeframe.M5), "minutes that were never listed are no silence in 5m"
    # the venue's own 15m bars begin later, but its 5m bars make them
    assert first.of(Timeframe.M15) == datetime(2021, 4, 10, 20, 30, tzinfo=UTC)
    assert first.expected(Timeframe.M15) == EARLIER


def test_a_window_whose_first_minutes_were_not_recorded_is_not_expected() -> None:
    first = FirstBars(FIRST, {Timeframe.M1: FIRST, Timeframe.M5: datetime(2021, 4, 10, 20, 20, tzinfo=UTC)})
    assert first.expected(Timeframe.M5) == datetime(2021, 4, 10, 20, 20, tzinfo=UTC)
    assert not first.begin_together(Timeframe.M1, Timeframe.M5)


@given(st.integers(0, 60 * 24 * 60), st.sampled_from(list(Timeframe)))
def test_a_listing_inside_any_window_is_the_first_bar_of_that_window(minutes: int, timeframe: Timeframe) -> None:
    """As venues state it that keep all widths alike."""
    listed = EARLIER + timedelta(minutes=minutes)
    stated = {one: one.floor(listed) for one in Timeframe}
    for first in (FirstBars(listed), FirstBars(listed, stated)):
        assert first.of(timeframe) == first.expected(timeframe) == timeframe.floor(listed)
        for lower in Timeframe:
            if lower.minutes < timeframe.minutes:
                assert first.begin_together(lower, timeframe)


def test_a_timeframe_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="2m"):
        FirstBars.read(FIRST, '{"2m": "2021-01-01T00:00:00+00:00"}')
