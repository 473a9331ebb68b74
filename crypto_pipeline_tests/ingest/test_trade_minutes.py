"""Minutes made of trades: each has all trades of its minute, or there is none."""

from __future__ import annotations

import math
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.ingest.stated_bars.trade_minutes import TradeMinutes
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.venues.stream_protocol import LiveBar

MINUTE = 60_000


def trade(number: int, ms: int, price: float = 1.0, quantity: float = 1.0) -> LiveTrade:
    return LiveTrade("BTC", number, number, number, ms, price, quantity, True)


def values(bar: LiveBar) -> tuple[float, ...]:
    return bar.open, bar.high, bar.low, bar.close, bar.volume


@given(
    st.lists(st.tuples(st.integers(0, 20 * MINUTE), st.integers(1, 50), st.integers(0, 2)), min_size=1, max_size=80),
    st.sets(st.integers(0, 80), max_size=3),
)
def test_what_is_made_is_whole_and_what_is_not_is_named(made: list[tuple[int, int, int]], losses: set[int]) -> None:
    """Trades arrive in time order, some of them twice; the stream is lost before some and opened again at once."""
    made.sort()
    trades = [trade(place, ms, float(price)) for place, (ms, price, _) in enumerate(made)]
    minutes, bars, named = TradeMinutes(), dict[int, LiveBar](), set[int]()
    held = False

    def close(now_ms: int) -> None:
        bars.update((bar.open_ms, bar) for bar in minutes.over(now_ms))
        named.update(open_ms for _, open_ms in minutes.partial())

    for place, (one, (_, _, copies)) in enumerate(zip(trades, made, strict=True)):
        close(one.time_ms)
        if place in losses:
            minutes.lose(["BTC"])
            held = False
        if not held:
            minutes.begin("BTC", one.time_ms)
            held = True
        assert minutes.take(one)
        assert all(minutes.take(one) is (one.time_ms < _first_whole(trades, losses, place)) for _ in range(copies))
    close(trades[-1].time_ms + 10 * MINUTE)
    tape = {open_ms: list(group) for open_ms, group in groupby(trades, lambda one: one.time_ms // MINUTE * MINUTE)}
    assert bars.keys() | named == tape.keys(), "every minute of the tape is made, or named as lacking trades"
    begun = {trades[place].time_ms // MINUTE * MINUTE for place in {0, *losses} if place < len(trades)}
    for open_ms, bar in bars.items():
        prices = [one.price for one in tape[open_ms]]
        assert values(bar)[:4] == (prices[0], max(prices), min(prices), prices[-1])
        assert math.isclose(bar.volume, len(prices))
        assert bar.closed
    assert not begun & bars.keys()


def _first_whole(trades: list[LiveTrade], losses: set[int], place: int) -> int:
    """When the first whole minute begins after the last time that the stream was opened, up to ``place``."""
    opened = max(each for each in {0, *losses} if each <= place)
    return trades[opened].time_ms // MINUTE * MINUTE + MINUTE


def test_a_trade_that_comes_late_changes_its_minute_for_five_minutes() -> None:
    minutes = TradeMinutes()
    minutes.begin("BTC", 0)
    minutes.take(trade(1, MINUTE + 10_000, 5.0))
    assert minutes.over(2 * MINUTE + 1_999) == [], "its last trades are on their way"
    (bar,) = minutes.over(2 * MINUTE + 2_000)
    assert values(bar) == (5.0, 5.0, 5.0, 5.0, 1.0)
    assert minutes.over(2 * MINUTE + 3_000) == []
    minutes.take(trade(2, MINUTE + 5_000, 4.0, 2.0))
    (bar,) = minutes.over(2 * MINUTE + 4_000)
    assert values(bar) == (4.0, 5.0, 4.0, 5.0, 3.0)
    minutes.over(8 * MINUTE)
    minutes.take(trade(3, 8 * MINUTE, 6.0))
    minutes.take(trade(4, MINUTE + 6_000, 7.0))
    assert [bar.open_ms for bar in minutes.over(10 * MINUTE)] == [8 * MINUTE], "REST states the older one"


@pytest.mark.parametrize("lost", [False, True])
def test_without_a_begin_nothing_is_made(lost: bool) -> None:
    minutes = TradeMinutes()
    if lost:
        minutes.begin("BTC", 0)
        minutes.take(trade(1, MINUTE))
        minutes.lose(["BTC"])
        assert minutes.partial() == {("BTC", 0), ("BTC", MINUTE)}
    minutes.take(trade(2, 2 * MINUTE))
    assert minutes.over(9 * MINUTE) == []
