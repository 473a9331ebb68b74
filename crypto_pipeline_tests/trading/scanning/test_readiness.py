"""A bar is scanned when all instruments' bars are known, or when they were waited for long enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from crypto_pipeline.arrays.grid import Grid
from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.market import Timeframe
from crypto_pipeline.trading.scanning.readiness import Readiness, known_bars, ready

START = datetime(2026, 3, 2, tzinfo=UTC)
QUARTER, DEADLINE = timedelta(minutes=15), timedelta(minutes=5)
END = START + 12 * QUARTER


def panel(present: list[list[int]], timeframe: Timeframe = Timeframe.M15) -> Panel:
    prices = np.where(np.array(present) > 0, 1.0, np.nan)
    end = START + timeframe.delta * prices.shape[1]
    return Panel(("A", "B"), Grid(timeframe, START, end), *([prices] * 5))


BOTH = [1] * 12
ALL_HOURS = panel([[1] * 3, [1] * 3], Timeframe.H1)


def known(bars: Panel, hours: Panel = ALL_HOURS) -> np.ndarray:
    return known_bars(bars, hours, ~np.isnan(bars.close))


def test_all_are_ready_when_all_are_there() -> None:
    bars = panel([BOTH, BOTH])
    found = ready(bars, known(bars), 2, now=END, waits_since=None, deadline=DEADLINE)
    assert found == Readiness(10)


def test_a_missing_bar_is_waited_for_from_the_first_look_on() -> None:
    bars = panel([BOTH, [1] * 8 + [0, 1, 1, 0]])
    of = known(bars)
    first = ready(bars, of, 2, now=END, waits_since=None, deadline=DEADLINE)
    assert first == Readiness(6, END, (1,))
    later = END + timedelta(minutes=4)
    assert ready(bars, of, 8, now=later, waits_since=END, deadline=DEADLINE) == Readiness(0, END, (1,))
    over = END + timedelta(minutes=5)  # of the bars behind it nobody waits anew
    assert ready(bars, of, 8, now=over, waits_since=END, deadline=DEADLINE) == Readiness(4)


def test_a_bar_that_has_just_closed_is_waited_for_whatever_was_waited_for_before() -> None:
    bars = panel([BOTH, [1] * 10 + [0, 0]])
    waits = START + 11 * QUARTER - DEADLINE
    found = ready(bars, known(bars), 10, now=END, waits_since=waits, deadline=DEADLINE)
    assert found == Readiness(1, END, (1,))


def test_nothing_is_waited_for_before_an_instrument_begins() -> None:
    bars = panel([BOTH, [0] * 6 + [1] * 6])
    assert ready(bars, known(bars), 0, now=END, waits_since=None, deadline=DEADLINE) == Readiness(12)


def test_the_hour_that_a_bar_closes_is_waited_for() -> None:
    bars, hours = panel([BOTH, BOTH]), panel([[1, 1, 1], [1, 0, 1]], Timeframe.H1)
    assert np.flatnonzero(~known(bars, hours)[1]).tolist() == [7]
    holed = panel([BOTH, [1] * 5 + [0] + [1] * 6])  # an hour that lacks a quarter may never come
    assert np.flatnonzero(~known(holed, hours)[1]).tolist() == [5]


def test_the_bar_of_four_hours_is_waited_for_of_the_benchmark_alone() -> None:
    bars = panel([[1] * 48, [1] * 48])
    hours = panel([[1] * 12, [1] * 12], Timeframe.H1)
    four = panel([[1, 0, 1]] * 2, Timeframe.H4)
    of_second = Panel(("B",), four.grid, *([four.close[:1]] * 5))
    known = known_bars(bars, hours, ~np.isnan(bars.close), trend=(1, of_second))
    assert known[0].all()
    assert np.flatnonzero(~known[1]).tolist() == [31]
