"""Span arithmetic against sets of minutes: whatever the spans, the minutes must come out the same.

Guards I3 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.market import (
    UTC_MS,
    Span,
    Timeframe,
    count_bars,
    intersect,
    merge_spans,
    missing_spans,
    missing_spans_by_cell,
    subtract,
    to_spans,
)
from crypto_pipeline_tests.builders.generators import NAMES, START

TIMEFRAMES = st.sampled_from(list(Timeframe))
SLOTS = st.sets(st.integers(0, 60))
#: Spans in slots: overlapping, touching, empty, reversed, in any order.
PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)
MANY = st.fixed_dictionaries(dict.fromkeys(NAMES, PAIRS))


def at(slot: int, timeframe: Timeframe = Timeframe.M1) -> datetime:
    return timeframe.floor(START) + slot * timeframe.delta


def spans(pairs: list[tuple[int, int]]) -> list[Span]:
    return [(at(low), at(high)) for low, high in pairs]


def frame(pairs: dict[str, list[tuple[int, int]]]) -> pl.DataFrame:
    rows = [(name, *span) for name, some in pairs.items() for span in spans(some)]
    return pl.DataFrame(rows, schema={"instrument": pl.String, "start": UTC_MS, "end": UTC_MS}, orient="row")


def slots(pairs: list[tuple[int, int]]) -> set[int]:
    return {slot for low, high in pairs for slot in range(low, high)}


def as_spans(wanted: set[int], timeframe: Timeframe = Timeframe.M1) -> list[Span]:
    """The naive way: walk over all slots."""
    found: list[Span] = []
    for slot in sorted(wanted):
        if found and found[-1][1] == at(slot, timeframe):
            found[-1] = (found[-1][0], at(slot + 1, timeframe))
        else:
            found.append((at(slot, timeframe), at(slot + 1, timeframe)))
    return found


@given(PAIRS, PAIRS)
def test_lists_are_sets_of_minutes(ours: list[tuple[int, int]], theirs: list[tuple[int, int]]) -> None:
    left, right = spans(ours), spans(theirs)
    assert merge_spans(left) == as_spans(slots(ours))
    assert subtract(left, right) == as_spans(slots(ours) - slots(theirs))
    assert intersect(left, right) == as_spans(slots(ours) & slots(theirs))
    assert missing_spans(left, right) == subtract(left, right)


@given(MANY, MANY)
def test_frames_are_lists_per_instrument(
    ours: dict[str, list[tuple[int, int]]], theirs: dict[str, list[tuple[int, int]]]
) -> None:
    left, right = frame(ours), frame(theirs)
    for operation in (subtract, intersect):
        result = operation(left, right)
        expected = [(name, *span) for name in NAMES for span in operation(spans(ours[name]), spans(theirs[name]))]
        assert result.rows() == expected
    assert merge_spans(left).rows() == [(name, *span) for name in NAMES for span in merge_spans(spans(ours[name]))]
    assert missing_spans(left, right).equals(subtract(left, right))


@given(TIMEFRAMES, SLOTS, st.randoms())
def test_open_times_become_spans(timeframe: Timeframe, present: set[int], random: object) -> None:
    opens = [at(slot, timeframe) for slot in present] * 2
    random.shuffle(opens)  # type: ignore[attr-defined]
    expected = as_spans(present, timeframe)
    series = pl.Series(opens, dtype=UTC_MS)
    assert to_spans(opens, timeframe) == to_spans(series, timeframe) == expected
    of_two = pl.DataFrame({"instrument": ["B"] * len(opens) + ["A"] * len(opens), "open_time": [*opens, *opens]})
    of_two = of_two.cast({"instrument": pl.String, "open_time": UTC_MS})
    result = to_spans(of_two, timeframe)
    assert result.rows() == [(name, *span) for name in "AB" for span in expected]
    assert count_bars(result, timeframe).sum() == 2 * len(present)


@given(TIMEFRAMES, SLOTS, SLOTS)
def test_every_hole_is_found_wherever_it_lies(timeframe: Timeframe, expected: set[int], present: set[int]) -> None:
    """Holes inside, at both edges, before the first bar and after the last, however well the rest is covered."""
    opens = [at(slot, timeframe) for slot in present]
    wanted = as_spans(expected, timeframe)
    assert missing_spans(wanted, opens, timeframe) == as_spans(expected - present, timeframe)
    assert missing_spans(wanted, pl.Series(opens, dtype=UTC_MS), timeframe) == as_spans(expected - present, timeframe)


@given(st.dictionaries(st.sampled_from(NAMES), st.sets(st.integers(0, 3 * 288 - 1), max_size=40)))
def test_holes_of_many_cells(holes: dict[str, set[int]]) -> None:
    """Nearly complete cells, the case in which a coverage threshold would look away."""
    day = Timeframe.D1.floor(START)
    timeframe = Timeframe.M5
    opens = [
        (name, day + slot * timeframe.delta) for name in holes for slot in range(3 * 288) if slot not in holes[name]
    ]
    cells = pl.DataFrame(
        [(name, (day + timedelta(days=number)).date()) for name in holes for number in range(3)],
        schema={"instrument": pl.String, "day": pl.Date},
        orient="row",
    )
    present = pl.DataFrame(opens, schema={"instrument": pl.String, "open_time": UTC_MS}, orient="row")
    expected = [
        (name, day + (start - at(0)) * 5, day + (end - at(0)) * 5)
        for name in sorted(holes)
        for start, end in as_spans(holes[name])
    ]
    assert missing_spans_by_cell(cells, present, timeframe).rows() == expected


def test_weekly_cells_last_a_week_and_bounds_are_kept() -> None:
    monday = Timeframe.W1.floor(START)
    cells = pl.DataFrame({"instrument": ["A"], "day": [monday.date()]})
    nothing = pl.DataFrame(schema={"instrument": pl.String, "open_time": UTC_MS})
    assert missing_spans_by_cell(cells, nothing, Timeframe.W1).rows() == [("A", monday, monday + timedelta(days=7))]
    bounded = cells.with_columns(
        start=pl.lit(monday + timedelta(hours=3), UTC_MS), end=pl.lit(monday + timedelta(hours=9), UTC_MS)
    )
    assert missing_spans_by_cell(bounded, nothing, Timeframe.H1).rows() == [
        ("A", monday + timedelta(hours=3), monday + timedelta(hours=9))
    ]


def test_lists_and_frames_do_not_mix() -> None:
    with pytest.raises(TypeError, match="two lists of spans or two frames"):
        subtract(frame({}), [])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="spans lack the column end"):
        merge_spans(frame({}).drop("end"))
    with pytest.raises(ValueError, match="naive time"):
        merge_spans([(datetime(2024, 1, 1), datetime(2024, 1, 2))])  # noqa: DTZ001
