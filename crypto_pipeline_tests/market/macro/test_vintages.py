"""Vintages: merged in any portions they give the same rows, and no row is public before it was published.

Guards I2 and I5 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.market.macro.releases import next_release, revision_sizes
from crypto_pipeline.market.macro.selection import OBSERVATION_SCHEMA, known_at, parse_prints, select_prints
from crypto_pipeline.market.macro.vintages import (
    Availability,
    AvailabilityBasis,
    StoredVintage,
    Vintage,
    contradiction,
    day_end,
    join_vintages,
    merge_vintages,
    snapshot_vintages,
)

ZONE = "America/Chicago"
DAY = timedelta(days=1)
FIRST = date(2020, 1, 1)
LATER = Availability(ZONE, datetime(2030, 1, 1, tzinfo=UTC))
PERIODS = [date(2019, month, 1) for month in range(1, 5)]
#: What is published: on which day (from FIRST) which value of which period.
PUBLISHED = st.dictionaries(
    st.tuples(st.sampled_from(PERIODS), st.integers(0, 60)), st.sampled_from([None, 1.0, 2.0, 3.0]), max_size=20
)


def history(published: dict[tuple[date, int], float | None]) -> list[Vintage]:
    """The vintages that follow from publications."""
    rows: list[Vintage] = []
    for period in PERIODS:
        own = sorted((day, value) for (of, day), value in published.items() if of == period)
        changes = [(day, value) for place, (day, value) in enumerate(own) if place == 0 or own[place - 1][1] != value]
        for place, (day, value) in enumerate(changes):
            end = None if place + 1 == len(changes) else FIRST + (changes[place + 1][0] - 1) * DAY
            rows.append(Vintage(period, value, FIRST + day * DAY, end))
    return rows


def asked(vintages: list[Vintage], start: date, end: date | None) -> list[Vintage]:
    """What a source answers about ``[start, end]``, cut at the edges as FRED cuts it."""
    return [
        Vintage(
            one.period, one.value, max(one.start, start),
            one.end if end is None else end if one.end is None else min(one.end, end),
        )
        for one in vintages
        if (end is None or one.start <= end) and (one.end is None or one.end >= start)
    ]  # fmt: skip


def as_of_day(vintages: list[Vintage], day: date) -> list[Vintage]:
    """The history as a source knew it on ``day``: later vintages have not begun, and no end is known."""
    return [
        Vintage(one.period, one.value, one.start, None if one.end is None or one.end >= day else one.end)
        for one in vintages
        if one.start <= day
    ]


def table(rows: list[StoredVintage]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            ("X", one.vintage.period, one.vintage.value, one.vintage.start, one.vintage.end, one.available_at,
             str(one.basis))
            for one in rows
        ],
        schema=OBSERVATION_SCHEMA, orient="row",
    )  # fmt: skip


@given(PUBLISHED, st.lists(st.integers(1, 59), unique=True, max_size=4))
def test_answers_about_neighbouring_days_join_to_the_whole(
    published: dict[tuple[date, int], float | None], cuts: list[int]
) -> None:
    whole = history(published)
    edges = [FIRST, *(FIRST + day * DAY for day in sorted(cuts)), None]
    pieces = [
        one
        for start, end in pairwise(edges)
        for one in asked(whole, start or FIRST, end)
    ]  # fmt: skip
    assert join_vintages(pieces) == sorted(whole, key=lambda one: (one.period, one.start))
    assert contradiction([one for one in whole if one.period == PERIODS[0]]) == ""


@given(PUBLISHED, st.lists(st.integers(0, 60), unique=True, min_size=1, max_size=5))
def test_news_merged_day_by_day_give_the_same_rows_as_all_at_once(
    published: dict[tuple[date, int], float | None], looks: list[int]
) -> None:
    whole = history(published)
    stored: dict[tuple[date, date], StoredVintage] = {}
    since = FIRST
    for look in [*sorted(looks), 61]:
        day = FIRST + look * DAY
        known = as_of_day(whole, day)
        changes = merge_vintages(stored.values(), asked(known, since, None), LATER)
        for row in changes.removed:
            del stored[row.key]
        stored |= {row.key: row for row in changes.write}
        starts = [one.start for one in known]
        since = max(starts, default=since)
    assert {row.vintage for row in stored.values()} == set(whole)
    again = merge_vintages(stored.values(), whole, LATER)
    assert (again.write, again.replaced) == ((), ()), "a second pass has nothing to do"


@given(PUBLISHED, st.integers(-1, 62))
def test_a_moment_sees_what_was_published_and_nothing_else(
    published: dict[tuple[date, int], float | None], look: int
) -> None:
    whole = history(published)
    rows = list(merge_vintages([], whole, LATER).write)
    moment = day_end(FIRST + look * DAY, ZONE)
    seen = known_at(table(rows), moment, ZONE)
    public = as_of_day(whole, FIRST + look * DAY)
    assert set(seen.select("period", "value", "vintage_start").rows()) == {
        (one.period, one.value, one.start) for one in public
    }
    for period, end in seen.select("period", "vintage_end").drop_nulls().rows():
        assert any(one.period == period and one.end == end for one in public), "an end that came later"
    newest = dict(select_prints(seen, "latest").select("period", "value").rows())
    assert newest == {one.period: one.value for one in public if one.end is None}
    first = dict(select_prints(seen, "first").select("period", "value").rows())
    earliest = {one.period: one.value for one in sorted(public, key=lambda one: one.start, reverse=True)}
    assert first == earliest


def test_the_hour_of_a_release_counts_only_on_its_days() -> None:
    day = date(2026, 3, 11)
    when = Availability(ZONE, LATER.observed_at, frozenset({day}), time(8, 30))
    assert when.public_from(day) == (datetime(2026, 3, 11, 12, 30, tzinfo=UTC), AvailabilityBasis.RELEASE)
    assert when.public_from(day + DAY) == (datetime(2026, 3, 13, 5, tzinfo=UTC), AvailabilityBasis.DAY_END)
    winter = Availability(ZONE, LATER.observed_at, frozenset({date(2026, 1, 9)}), time(8, 30))
    assert winter.public_from(date(2026, 1, 9))[0] == datetime(2026, 1, 9, 13, 30, tzinfo=UTC), "before daylight saving"
    seen = Availability(ZONE, datetime(2026, 3, 12, 20, tzinfo=UTC))
    assert seen.public_from(date(2026, 3, 12)) == (seen.observed_at, AvailabilityBasis.OBSERVED)
    assert seen.public_from(day)[1] is AvailabilityBasis.DAY_END
    assert seen.public_from(date(2026, 3, 13))[1] is AvailabilityBasis.DAY_END, "a clock that is behind proves nothing"


def test_a_value_that_is_restated_within_its_vintage_is_known_since_it_was_seen() -> None:
    stored = merge_vintages([], [Vintage(PERIODS[0], 1.0, FIRST, None)], LATER).write
    seen = Availability(ZONE, datetime(2031, 1, 1, tzinfo=UTC))
    changes = merge_vintages(stored, [Vintage(PERIODS[0], 1.5, FIRST, None)], seen)
    assert changes.replaced == stored
    assert [row.available_at for row in changes.write] == [seen.observed_at]
    assert changes.removed == ()


def test_a_snapshot_says_only_what_is_new() -> None:
    day = date(2026, 3, 11)
    stored = merge_vintages([], [Vintage(PERIODS[0], 1.0, FIRST, None)], LATER).write
    assert snapshot_vintages(stored, [(PERIODS[0], 1.0)], day) == []
    assert snapshot_vintages(stored, [(PERIODS[0], 1.2), (PERIODS[1], None)], day) == [
        Vintage(PERIODS[0], 1.2, day, None), Vintage(PERIODS[1], None, day, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("vintages", "why"),
    [
        ([Vintage(FIRST, 1.0, FIRST, FIRST - DAY)], "a value from"),
        ([Vintage(FIRST, 1.0, FIRST, None), Vintage(FIRST, 2.0, FIRST + DAY, None)], "two values on 2020-01-02"),
        ([Vintage(FIRST, 1.0, FIRST, FIRST + DAY), Vintage(FIRST, 2.0, FIRST + DAY, None)], "two values on 2020-01-02"),
    ],
)
def test_contradictions_are_named(vintages: list[Vintage], why: str) -> None:
    assert why in contradiction(vintages)


def prints(*pairs: tuple[date, date]) -> pl.DataFrame:
    return pl.DataFrame(list(pairs), schema={"period": pl.Date(), "vintage_start": pl.Date()}, orient="row")


def test_the_next_release_follows_the_calendar_and_else_the_usual_lag() -> None:
    months = [date(2025, month, 1) for month in range(1, 8)]
    came = [date(2025, 3, 14), date(2025, 3, 14), *(date(2025, month, 12) for month in range(4, 9))]
    known = prints(*zip(months, came, strict=True))
    calendar = [date(2025, 8, 12), date(2025, 9, 11), date(2025, 10, 15)]
    expected = next_release(known, "M", calendar, ZONE)
    assert expected is not None
    assert (expected.period, expected.day) == (date(2025, 8, 1), date(2025, 10, 15)), "never earlier than 11 days"
    early = next_release(known, "M", [date(2025, 9, 12)], ZONE)
    assert early is not None
    assert early.day == date(2025, 9, 12)
    assert early.overdue_from == datetime(2025, 9, 14, 5, tzinfo=UTC)
    without = next_release(known, "M", [], ZONE)
    assert without is not None
    assert without.day == date(2025, 9, 12)
    assert without.overdue_from > early.overdue_from


def test_without_enough_releases_nothing_is_expected_unless_the_lag_is_known() -> None:
    backfilled = prints((FIRST, date(2025, 1, 1)), (date(2020, 2, 1), date(2025, 1, 1)))
    assert next_release(backfilled, "M", [], ZONE) is None
    assert next_release(prints(), "M", [], ZONE, 10) is None
    expected = next_release(backfilled, "M", [], ZONE, lag_days=13)
    assert expected is not None
    assert (expected.period, expected.day) == (date(2020, 3, 1), date(2020, 4, 14))


def revised(*values: float, start: date = FIRST) -> list[StoredVintage]:
    vintages = [
        Vintage(start, value, FIRST + place * DAY, None if place + 1 == len(values) else FIRST + place * DAY)
        for place, value in enumerate(values)
    ]
    return list(merge_vintages([], vintages, LATER).write)


def test_a_revision_is_unusual_against_all_earlier_ones_only() -> None:
    usual = [100 + (place % 2) * 0.1 for place in range(40)]
    frame = table(revised(*usual, 100.0, 103.0))
    sizes = revision_sizes(frame, FIRST + 40 * DAY, percent=False)
    assert (sizes.recent, sizes.unusual["value"].to_list()) == (2, [103.0])
    assert revision_sizes(frame, FIRST + 42 * DAY, percent=False).unusual.is_empty()
    few = revision_sizes(table(revised(100.0, 101.0)), FIRST + DAY, percent=False)
    assert (few.limit, few.recent, few.earlier) == (None, 1, 0)
    points = revision_sizes(table(revised(*[4.0, 4.1] * 20, 4.6)), FIRST + 40 * DAY, percent=True)
    assert points.unusual["value"].to_list() == [4.6]


def test_unknown_prints_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown prints 'last': use one of latest, first, all"):
        parse_prints("last")
