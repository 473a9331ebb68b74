"""What is expected, against a walk over every window; and the sessions of exchanges over the year.

Guards I3 (docs/invariants.md).
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.market import (
    Timeframe,
    expected_bounds,
    expected_cells,
    expected_open_times,
    get_calendar,
    missing_spans_by_cell,
)

HISTORY = datetime(2024, 2, 27, tzinfo=UTC)
LISTING = st.none() | st.integers(-5_000, 30_000).map(lambda minutes: HISTORY + timedelta(minutes=minutes))


def naive_cells(
    timeframe: Timeframe, listed: datetime | None, delisted: datetime | None, now: datetime, settle: timedelta
) -> dict[date, int]:
    cells: dict[date, int] = {}
    opened = timeframe.floor(HISTORY)
    while opened + timeframe.delta + settle <= now:
        begun = listed is None or opened + timeframe.delta > listed
        if begun and (delisted is None or opened < delisted):
            day = (Timeframe.W1 if timeframe is Timeframe.W1 else Timeframe.D1).floor(opened).date()
            cells[day] = cells.get(day, 0) + 1
        opened += timeframe.delta
    return cells


@given(st.sampled_from(list(Timeframe)), LISTING, LISTING, st.integers(0, 25_000), st.integers(0, 90))
def test_cells_equal_a_walk_over_all_windows(
    timeframe: Timeframe, listed: datetime | None, delisted: datetime | None, minutes: int, settle: int
) -> None:
    now = HISTORY + timedelta(minutes=minutes, seconds=17)
    instruments = pl.DataFrame(
        {
            "instrument": ["A-B", "C-D"],
            "listed": [listed, None],
            "delisted": [delisted, None],
            "calendar": [None, "24/7"],
        },
        schema_overrides={"listed": pl.Datetime("us", "UTC"), "delisted": pl.Datetime("us", "UTC")},
    )
    cells = expected_cells(instruments, timeframe, HISTORY, now, timedelta(seconds=settle))
    assert cells.columns == ["instrument", "timeframe", "day", "expected"]
    for name, limits in (("A-B", (listed, delisted)), ("C-D", (None, None))):
        found = dict(cells.filter(instrument=name).sort("day").select("day", "expected").iter_rows())
        assert found == naive_cells(timeframe, *limits, now, timedelta(seconds=settle))


def test_bounds_say_where_in_the_cell_bars_are_expected() -> None:
    listed = HISTORY + timedelta(hours=5, minutes=7)
    now = HISTORY + timedelta(days=1, hours=2, seconds=30)
    bounds = expected_bounds(pl.DataFrame({"instrument": ["A-B"], "listed": [listed]}), Timeframe.H1, HISTORY, now, 60)
    assert bounds.select("start", "end", "expected").rows() == [
        (HISTORY + timedelta(hours=5), HISTORY + timedelta(days=1), 19),
        (HISTORY + timedelta(days=1), HISTORY + timedelta(days=1, hours=1), 1),
    ]
    nothing = pl.DataFrame(schema={"instrument": pl.String, "open_time": pl.Datetime("ms", "UTC")})
    missing = missing_spans_by_cell(bounds, nothing, Timeframe.H1)
    assert missing.rows() == [("A-B", HISTORY + timedelta(hours=5), HISTORY + timedelta(days=1, hours=1))]


def test_half_a_year_of_ninety_instruments_is_a_matter_of_milliseconds() -> None:
    instruments = pl.DataFrame({"instrument": [f"I{number}-USDT" for number in range(90)]})
    now = HISTORY + timedelta(days=180)
    expected_cells(instruments, list(Timeframe), HISTORY, now)
    took = []
    for _ in range(5):
        begin = time.perf_counter()
        cells = expected_cells(instruments, list(Timeframe), HISTORY, now)
        took.append(time.perf_counter() - begin)
    assert cells.filter(timeframe="1m")["expected"].sum() == 90 * 180 * 1440
    assert min(took) < 0.5  # usually 0.04; generous, for a machine that does other things too


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        (date(2024, 1, 17), "14:30", "21:00"),  # New York on winter time
        (date(2024, 7, 17), "13:30", "20:00"),  # and on summer time
        (date(2024, 3, 8), "14:30", "21:00"),  # the Friday before the clocks change
        (date(2024, 3, 11), "13:30", "20:00"),  # and the Monday after
        (date(2024, 11, 29), "14:30", "18:00"),  # half day after Thanksgiving
        (date(2024, 7, 3), "13:30", "17:00"),  # half day in summer
    ],
)
def test_new_york_in_both_halves_of_the_year(day: date, opens: str, closes: str) -> None:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    moments = expected_open_times(get_calendar("XNYS"), Timeframe.M1, midnight, midnight + timedelta(days=1))
    assert f"{moments[0]:%H:%M}" == opens
    assert f"{moments[-1] + timedelta(minutes=1):%H:%M}" == closes
    assert len(moments) == (moments[-1] - moments[0]) // timedelta(minutes=1) + 1


def test_closed_days_expect_nothing_and_wide_bars_cover_the_session() -> None:
    calendar = get_calendar("XNYS")
    first, last = datetime(2024, 11, 25, tzinfo=UTC), datetime(2024, 12, 2, tzinfo=UTC)  # Thanksgiving week
    assert [moment.day for moment in expected_open_times(calendar, Timeframe.D1, first, last)] == [25, 26, 27, 29]
    assert expected_open_times(calendar, Timeframe.W1, first, last) == [first]
    hours = expected_open_times(calendar, Timeframe.H1, last - timedelta(days=3), last)
    assert [f"{moment:%d %H}" for moment in hours] == ["29 14", "29 15", "29 16", "29 17"]
    cells = expected_cells(pl.DataFrame({"instrument": ["AAPL"], "calendar": ["XNYS"]}), Timeframe.M1, first, last)
    assert cells.select("day", "expected").rows() == [
        (date(2024, 11, 25), 390), (date(2024, 11, 26), 390), (date(2024, 11, 27), 390), (date(2024, 11, 29), 210),
    ]  # fmt: skip


def test_a_lunch_break_is_no_hole() -> None:
    first = datetime(2024, 5, 7, tzinfo=UTC)
    spans = get_calendar("XHKG").spans(Timeframe.M1, first, first + timedelta(days=1))
    assert [f"{start:%H:%M}-{end:%H:%M}" for start, end in spans] == ["01:30-04:00", "05:00-08:00"]
    cells = expected_cells(
        pl.DataFrame({"instrument": ["0700"], "calendar": ["XHKG"]}), Timeframe.M1, first, first + timedelta(days=1)
    )
    assert cells["expected"].to_list() == [330]


def test_always_open_and_unknown_calendars() -> None:
    moments = expected_open_times(get_calendar("24/7"), Timeframe.H4, HISTORY, HISTORY + timedelta(days=7))
    assert len(moments) == 42
    with pytest.raises(ValueError, match="unknown calendar 'XMARS'"):
        get_calendar("XMARS")
