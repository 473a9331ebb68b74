"""Bars from trades, against a naive count, and against the roll-up of narrower bars.

Guards I6 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from crypto_pipeline.market import BAR_SCHEMA, TRADE_SCHEMA, BarOrigin, Timeframe, bars_from_trades, roll_up
from crypto_pipeline.market.trades.individual_trades import new_singles
from crypto_pipeline_tests.builders.generators import START

PRICES = st.integers(1, 99).map(lambda tick: tick / 8)


def made(trades: pl.DataFrame, timeframe: Timeframe = Timeframe.M1, **ids: int) -> pl.DataFrame:
    return bars_from_trades(trades, timeframe, source=BarOrigin.LIVE_AGGREGATED, revision=START, **ids)


@st.composite
def tapes(draw: st.DrawFn) -> pl.DataFrame:
    """Trades of one instrument, ids and times ascending, several in one millisecond."""
    steps = draw(st.lists(st.integers(0, 200_000), max_size=40))
    rows, elapsed, last = [], 0, 0
    for number, step in enumerate(steps, 1):
        elapsed += step
        first, last = last + 1, last + draw(st.integers(1, 3))
        side = draw(st.sampled_from(["buy", "sell"]))
        moment = START + timedelta(milliseconds=elapsed)
        rows.append(("A-B", number, first, last, moment, draw(PRICES), draw(PRICES), side))
    return pl.DataFrame(rows, schema=TRADE_SCHEMA, orient="row")


@given(tapes(), st.randoms())
def test_bars_are_what_a_walk_over_the_trades_makes(trades: pl.DataFrame, random: Any) -> None:
    rows = list(range(trades.height))
    random.shuffle(rows)
    bars = made(trades[rows], id_before=0, id_after=trades.height + 1)
    windows: dict[Any, list[dict[str, Any]]] = {}
    for trade in trades.iter_rows(named=True):
        windows.setdefault(Timeframe.M1.floor(trade["time"]), []).append(trade)
    expected = [
        {
            "instrument": "A-B",
            "open_time": opened,
            "open": parts[0]["price"],
            "high": max(part["price"] for part in parts),
            "low": min(part["price"] for part in parts),
            "close": parts[-1]["price"],
            "volume": sum(part["quantity"] for part in parts),
            "quote_volume": sum(part["price"] * part["quantity"] for part in parts),
            "taker_buy_volume": sum(part["quantity"] for part in parts if part["taker_side"] == "buy"),
            "trade_count": sum(part["last_id"] - part["first_id"] + 1 for part in parts),
            "source": "live_aggregated",
            "complete": True,
            "revision": START,
        }
        for opened, parts in windows.items()
    ]
    assert_frame_equal(bars, pl.DataFrame(expected, schema=BAR_SCHEMA), rel_tol=1e-12, abs_tol=0)


@given(tapes())
def test_wide_bars_from_trades_equal_the_roll_up_of_narrow_ones(trades: pl.DataFrame) -> None:
    same = pl.exclude("source")
    rolled = roll_up(made(trades), Timeframe.H1).select(same)
    assert_frame_equal(rolled, made(trades, Timeframe.H1).select(same), rel_tol=1e-12, abs_tol=0)


@given(tapes(), st.data())
def test_a_lost_trade_makes_its_neighbours_incomplete(trades: pl.DataFrame, data: st.DataObject) -> None:
    if trades.height < 3:
        return
    lost = data.draw(st.integers(1, trades.height - 2))
    bars = made(trades.filter(pl.col("trade_id") != lost + 1), id_before=0, id_after=trades.height + 1)
    doubtful = {Timeframe.M1.floor(trades["time"][row]) for row in (lost - 1, lost + 1)}
    assert set(bars.filter(~pl.col("complete"))["open_time"]) == doubtful
    edges = made(trades, id_before=-5, id_after=trades.height + 9)
    assert not edges["complete"][0]
    assert not edges["complete"][-1]


def tape(*singles: tuple[int, int], seconds: int = 20) -> pl.DataFrame:
    """Aggregates with ids that run on, one every ``seconds``; each as large as it sums, at a price of its own."""
    rows = [
        ("A-B", 10 + place, *ids, START + timedelta(seconds=seconds * place), 1.0 + place, float(place + 1), "buy")
        for place, ids in enumerate(singles)
    ]
    return pl.DataFrame(rows, schema=TRADE_SCHEMA, orient="row")


def test_an_individual_trade_that_two_aggregates_sum_is_counted_once() -> None:
    (bar,) = made(tape((70, 70), (71, 71), (70, 70), seconds=5)).iter_rows(named=True)
    assert (bar["volume"], bar["trade_count"], bar["high"], bar["close"]) == (3.0, 2, 2.0, 2.0)
    assert not bar["complete"]
    (part,) = made(tape((70, 72), (72, 74), seconds=5)).iter_rows(named=True)
    assert (part["trade_count"], part["complete"]) == (5, False)


def test_individual_trades_that_jump_make_the_bars_on_both_sides_incomplete() -> None:
    inside = made(tape((70, 70), (75, 75), seconds=5))
    assert inside["complete"].to_list() == [False]
    between = made(tape((68, 69), (70, 70), (75, 75), (76, 76), seconds=60))
    assert between["complete"].to_list() == [True, False, False, True]
    at_the_edges = tape((70, 70), (71, 72))
    assert made(at_the_edges, single_before=69, single_after=73)["complete"].to_list() == [True]
    assert made(at_the_edges, single_before=65, single_after=73)["complete"].to_list() == [False]
    assert made(at_the_edges, single_before=69, single_after=72)["complete"].to_list() == [False]


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 8)).map(lambda pair: (pair[0], pair[0] + pair[1] - 1)))


@given(SPANS)
def test_new_individual_trades_are_those_that_a_set_does_not_hold(aggregates: list[tuple[int, int]]) -> None:
    seen: set[int] = set()
    expected = []
    for first, last in aggregates:
        ids = set(range(first, last + 1))
        expected.append(len(ids - seen))
        seen |= ids
    assert new_singles(aggregates) == expected


def test_one_mistaken_range_of_individual_trades_does_not_make_all_others_repetitions() -> None:
    assert new_singles([(1, 1), (2, 1 << 62), (3, 3), (4, 5), (4, 4)]) == [1, (1 << 62) - 1, 1, 2, 0]
