"""Pages of an exchange with any manners: no row is lost where two pages meet, or the page is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.venues.ccxt.bar_pages import Row, read_span
from crypto_pipeline.venues.protocol import MalformedAnswer

MINUTE = 60_000
#: ``manner(rows, since, limit, until)``: the page that an exchange gives of its rows.
Manner = Callable[[list[Row], int, int, int | None], list[Row]]


def from_since(rows: list[Row], since: int, limit: int, until: int | None) -> list[Row]:
    """The oldest rows from ``since`` on, however late they are."""
    return [row for row in rows if row[0] >= since][:limit]


def after_since(rows: list[Row], since: int, limit: int, until: int | None) -> list[Row]:
    """Without the row of ``since`` itself."""
    return [row for row in rows if row[0] > since][:limit]


def window(rows: list[Row], since: int, limit: int, until: int | None) -> list[Row]:
    """The rows of so many minutes, newest first."""
    return [row for row in rows if since <= row[0] < since + limit * MINUTE][::-1]


def open_window(rows: list[Row], since: int, limit: int, until: int | None) -> list[Row]:
    """Neither end is included."""
    return [row for row in rows if since < row[0] < since + (limit - 1) * MINUTE]


def small_pages(rows: list[Row], since: int, limit: int, until: int | None) -> list[Row]:
    """Fewer rows than are asked for."""
    return from_since(rows, since, min(limit, 17), until)


def newest_before_the_end(rows: list[Row], since: int, limit: int, until: int | None) -> list[Row]:
    """The newest rows between ``since`` and the end, which is now where none is asked for."""
    return [row for row in rows if since <= row[0] < (until or 1 << 60)][-limit:]


def two_after_since(rows: list[Row], since: int, limit: int, until: int | None) -> list[Row]:
    """Without the first two rows."""
    return [row for row in rows if row[0] > since + MINUTE][:limit]


def rows_of(minutes: list[int]) -> list[Row]:
    return [[minute * MINUTE, 1.0, 2.0, 0.5, 1.5, float(minute)] for minute in minutes]


async def read(manner: Manner, rows: list[Row], begin: int, end: int, most: int = 50) -> list[int]:
    asked = 0

    async def ask(since: int, limit: int, until: int | None) -> list[Row]:
        nonlocal asked
        asked += 1
        assert asked < 1000, "it goes round in circles"
        assert 0 < limit <= most
        return manner(rows, since, limit, until)

    found = await read_span(ask, begin * MINUTE, end * MINUTE, MINUTE, most)
    return sorted({row[0] // MINUTE for row in found})


@pytest.mark.parametrize(
    "manner",
    [from_since, after_since, window, open_window, small_pages, newest_before_the_end, two_after_since],
    ids=lambda manner: manner.__name__,
)
@pytest.mark.parametrize(("begin", "end"), [(10, 11), (10, 60), (10, 59), (10, 61), (9, 400), (100, 301)])
async def test_every_row_of_a_full_market_is_read(manner: Manner, begin: int, end: int) -> None:
    assert await read(manner, rows_of(list(range(500))), begin, end) == list(range(begin, end))


@given(st.sets(st.integers(0, 700), max_size=300), st.integers(0, 300), st.integers(1, 400), st.integers(5, 120))
@pytest.mark.parametrize("manner", [from_since, after_since, window], ids=lambda manner: manner.__name__)
async def test_silent_minutes_lose_no_row(manner: Manner, traded: set[int], begin: int, length: int, most: int) -> None:
    truth = [minute for minute in sorted(traded) if begin <= minute < begin + length]
    assert await read(manner, rows_of(sorted(traded)), begin, begin + length, most) == truth


async def test_an_exchange_that_has_only_its_newest_rows_gives_these() -> None:
    def newest(rows: list[Row], since: int, limit: int, until: int | None) -> list[Row]:
        return rows[-limit:]

    assert await read(newest, rows_of(list(range(500))), 300, 500) == list(range(450, 500))
    assert await read(newest, rows_of(list(range(500))), 100, 200) == []


async def test_a_row_that_is_lost_between_two_pages_is_noticed() -> None:
    """However much a page repeats of the one before, it begins one row too late."""

    def late(rows: list[Row], since: int, limit: int, until: int | None) -> list[Row]:
        page = from_since(rows, since, limit, until)
        return page if since < 20 * MINUTE else [row for row in page if row[0] >= 62 * MINUTE]

    with pytest.raises(MalformedAnswer, match=r"lacks the row of \d+, which the page before has"):
        await read(late, rows_of(list(range(500))), 10, 200)
