"""Trades of an exchange with any manners: what the answer names has all of them, or nothing is named."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.venues.ccxt.trade_pages import CcxtTrade, read_trades
from crypto_pipeline.venues.protocol import MalformedAnswer, VenueError

MINUTE, PAGE = 60_000, 20
Manner = Callable[[list[CcxtTrade], int, int | None], list[CcxtTrade]]


def from_since(trades: list[CcxtTrade], since: int, until: int | None) -> list[CcxtTrade]:
    """The oldest from ``since`` on."""
    return [one for one in trades if one.ms >= since][:PAGE]


def back_from_until(trades: list[CcxtTrade], since: int, until: int | None) -> list[CcxtTrade]:
    """The newest before ``until``, newest first."""
    return [one for one in trades if since <= one.ms <= (until or 1 << 60)][-PAGE:][::-1]


def newest_alone(trades: list[CcxtTrade], since: int, until: int | None) -> list[CcxtTrade]:
    """The newest, whatever is asked for."""
    return trades[-PAGE:]


def made(seconds: list[int]) -> list[CcxtTrade]:
    return [CcxtTrade(f"id {place}", second * 1000, 1.0, 1.0, True) for place, second in enumerate(seconds)]


async def read(manner: Manner, trades: list[CcxtTrade], begin: int, end: int) -> tuple[int, int, list[CcxtTrade]]:
    asked = 0

    async def ask(since: int, until: int | None) -> list[CcxtTrade]:
        nonlocal asked
        asked += 1
        assert asked < 500, "it goes round in circles"
        return manner(trades, since, until)

    return await read_trades(ask, begin * MINUTE, end * MINUTE)


@pytest.mark.parametrize("manner", [from_since, back_from_until], ids=lambda manner: manner.__name__)
@pytest.mark.parametrize(("begin", "end"), [(100, 101), (100, 160), (60, 400)])
async def test_all_trades_of_the_span_where_it_is_surrounded(manner: Manner, begin: int, end: int) -> None:
    trades = made(list(range(0, 40_000, 37)))
    since, until, found = await read(manner, trades, begin, end)
    assert (since, until) == (begin * MINUTE, end * MINUTE)
    assert found == [one for one in trades if since <= one.ms < until]


async def test_the_newest_trades_show_their_own_minutes_alone() -> None:
    trades = made(list(range(0, 12_000, 30)))  # the newest 20 are of the last ten minutes
    since, until, found = await read(newest_alone, trades, 100, 199)
    assert (since, until) == (191 * MINUTE, 199 * MINUTE)
    assert found == [one for one in trades if since <= one.ms < until]
    with pytest.raises(VenueError, match="some may be missing"):
        await read(newest_alone, trades, 100, 150)


@given(
    st.lists(st.integers(0, 90_000), max_size=120).map(sorted), st.integers(0, 1_400), st.integers(1, 100),
)  # fmt: skip
@pytest.mark.parametrize("manner", [from_since, back_from_until, newest_alone], ids=lambda manner: manner.__name__)
async def test_what_is_named_is_whole(manner: Manner, seconds: list[int], begin: int, length: int) -> None:
    trades = made(seconds)
    try:
        since, until, found = await read(manner, trades, begin, begin + length)
    except VenueError:
        return
    assert begin * MINUTE <= since < until <= (begin + length) * MINUTE
    assert since % MINUTE == until % MINUTE == 0
    assert sorted(found, key=lambda one: one.number) == sorted(
        (one for one in trades if since <= one.ms < until), key=lambda one: one.number
    )
    assert all(earlier.ms <= later.ms for earlier, later in pairwise(found))


async def test_one_id_with_two_trades_is_refused() -> None:
    trades = made(list(range(0, 12_000, 30)))

    def changing(rows: list[CcxtTrade], since: int, until: int | None) -> list[CcxtTrade]:
        page = from_since(rows, since, until)
        return [*page, CcxtTrade(page[0].number, page[0].ms, 2.0, 1.0, True)]

    with pytest.raises(MalformedAnswer, match="different trades with the id"):
        await read(changing, trades, 100, 120)
