"""Aggregation piece by piece against the batch function on the set of all trades, and against a naive model.

Guards I6 (docs/invariants.md).
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.ingest.aggregation.aggregator import Aggregator
from crypto_pipeline.ingest.aggregation.bar_decision import Basis
from crypto_pipeline.ingest.aggregation.minute_state import Written
from crypto_pipeline.market.bars import BarOrigin, empty_bars
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.aggregation import bars_from_trades
from crypto_pipeline.venues import TradesAnswer
from crypto_pipeline.venues.stream_protocol import Anchor, LiveBar, LiveTrade, frame_of_live_trades

BASE = 1_780_000_020_000 - 1_780_000_020_000 % 60_000
VALUES = ["open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "trade_count"]


def make(count: int, seed: int, symbol: str = "A-B", minutes: int = 3) -> list[LiveTrade]:
    """A venue's trades: ids and times rise, several share a millisecond, some are aggregates."""
    rng = random.Random(seed)
    times = sorted(rng.randrange(minutes * 60_000) for _ in range(count))
    made, single = [], 500
    for place, ms in enumerate(times):
        size = rng.choice([1, 1, 1, 3])
        made.append(
            LiveTrade(
                symbol, 100 + place, single, single + size - 1, BASE + ms, rng.choice([1.0, 1.1, 1.3, 2.7]),
                rng.random(), rng.random() < 0.5,
            )
        )  # fmt: skip
        single += size
    return made


def closed(trades: list[LiveTrade], open_ms: int, symbol: str = "A-B") -> LiveBar:
    """The venue's own bar of these trades."""
    inside = [trade for trade in trades if open_ms <= trade.time_ms < open_ms + 60_000]
    prices = [trade.price for trade in inside] or [9.0]
    count = sum(trade.last_id - trade.first_id + 1 for trade in inside)
    first, last = (inside[0].first_id, inside[-1].last_id) if inside else (None, None)
    volume, quote = sum(trade.quantity for trade in inside), sum(trade.quantity * trade.price for trade in inside)
    return LiveBar(
        symbol, "1m", open_ms, prices[0], max(prices), min(prices), prices[-1], volume, quote, 0.0, count, first, last,
        True, open_ms + 60_001,
    )  # fmt: skip


def answer(trades: list[LiveTrade], start_ms: int, end_ms: int, symbol: str = "A-B") -> TradesAnswer:
    """What REST says of the span."""
    inside = [trade for trade in trades if start_ms <= trade.time_ms < end_ms]
    before = max((trade.trade_id for trade in trades if trade.time_ms < start_ms), default=None)
    after = min((trade.trade_id for trade in trades if trade.time_ms >= end_ms), default=None)
    moments = [datetime.fromtimestamp(ms / 1000, UTC) for ms in (start_ms, end_ms)]
    return TradesAnswer(moments[0], moments[1], frame_of_live_trades(inside), before, after, instrument=symbol)


def batch(trades: list[LiveTrade]) -> pl.DataFrame:
    unique = list({(trade.instrument, trade.trade_id): trade for trade in trades}.values())
    frames = [
        bars_from_trades(
            frame_of_live_trades([trade for trade in unique if trade.instrument == symbol]),
            Timeframe.M1,
            source=BarOrigin.LIVE_AGGREGATED,
            revision=datetime.now(UTC),
        )
        for symbol in sorted({trade.instrument for trade in unique})
    ]
    return pl.concat([empty_bars(), *frames]).sort("instrument", "open_time")


def drain(aggregator: Aggregator, now_ms: int) -> pl.DataFrame:
    """Write what is due, as a term does, and keep the best copies as the store does."""
    bars = aggregator.bars_to_write(now_ms)
    frame = aggregator.frame(bars)
    aggregator.wrote(bars)
    return frame


def shuffled(trades: list[LiveTrade], rng: random.Random, shuffle: float) -> list[LiveTrade]:
    """The trades in another order; none moves by more than ``shuffle`` places."""
    places = [place + rng.uniform(0, shuffle) for place in range(len(trades))]
    return [trade for _, trade in sorted(zip(places, trades, strict=True), key=lambda pair: pair[0])]


def write_all(aggregator: Aggregator, arriving: list[LiveTrade], looks: int) -> pl.DataFrame:
    """The last copy of every bar that is written when the aggregator is drained after every ``looks`` trades."""
    frames = [empty_bars()]
    for place, trade in enumerate(arriving):
        aggregator.now_ms = max(aggregator.now_ms, trade.time_ms)
        aggregator.trade(trade)
        if place % looks == 0:
            frames.append(drain(aggregator, trade.time_ms))
    frames.append(drain(aggregator, BASE + 4 * 60_000))
    return pl.concat(frames).unique(["instrument", "open_time"], keep="last").sort("instrument", "open_time")


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 60),
    st.integers(0, 10_000),
    st.floats(0, 0.4),
    st.floats(0, 0.4),
    st.integers(0, 30),
    st.integers(1, 9),
)
def test_any_order_any_pieces_any_losses_give_the_bars_of_the_set(
    count: int, seed: int, loss: float, doubling: float, shuffle: int, looks: int
) -> None:
    """I6: values equal to the digit, and complete exactly when the ids prove it."""
    rng = random.Random(seed)
    truth = make(count, seed) + make(count // 2, seed + 1, "C-D")
    arriving = [trade for trade in truth if rng.random() >= loss]
    arriving += [trade for trade in arriving if rng.random() < doubling]
    arriving = shuffled(arriving, rng, shuffle)
    # so fast a clock that no trade is too late to be believed
    aggregator = Aggregator(["A-B", "C-D"], states_bars=True, rate=1000.0)
    written = write_all(aggregator, arriving, looks)
    expected = batch(arriving)
    assert written.select("instrument", "open_time", *VALUES).equals(
        expected.select("instrument", "open_time", *VALUES)
    )
    known = {(trade.instrument, trade.trade_id) for trade in arriving}
    for row in written.iter_rows(named=True):
        start = int(row["open_time"].timestamp() * 1000)
        ids = [
            trade.trade_id
            for trade in arriving
            if trade.instrument == row["instrument"] and start <= trade.time_ms < start + 60_000
        ]
        proven = all((row["instrument"], number) in known for number in range(min(ids) - 1, max(ids) + 2))
        assert row["complete"] == proven
        assert row["source"] == "live_aggregated"
    counted = aggregator.counters
    assert counted["trades"] == len(known)
    assert counted["duplicates"] == len(arriving) - len(known)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(0, 10_000), st.floats(0, 0.6))
def test_holes_are_filled_by_rest_and_everything_ends_complete(count: int, seed: int, loss: float) -> None:
    rng = random.Random(seed)
    truth = make(count, seed)
    aggregator = Aggregator(["A-B"])
    for trade in truth:
        if rng.random() >= loss:
            aggregator.trade(trade)
    drain(aggregator, BASE + 4 * 60_000)
    asked = BASE + 5 * 60_000
    for stream, hole in aggregator.holes():
        assert stream.symbol == "A-B"
        aggregator.restate(answer(truth, hole.start_ms, hole.end_ms + 1), asked)
    assert aggregator.holes() == []
    aggregator.restate(answer(truth, BASE, BASE + 3 * 60_000), asked)
    drain(aggregator, asked)
    for minute in aggregator.streams["A-B"].minutes.values():
        minute.changed_since_write = True
    last = drain(aggregator, asked).sort("open_time")
    assert last.select(VALUES).equals(batch(truth).select(VALUES))
    assert last["complete"].all()


def test_a_bar_waits_for_proof_until_it_has_settled() -> None:
    trades = make(40, 3, minutes=2)
    first = [trade for trade in trades if trade.time_ms < BASE + 60_000]
    aggregator = Aggregator(["A-B"], settle_ms=2000)
    for trade in first:
        aggregator.trade(trade)
    end = BASE + 60_000
    assert aggregator.bars_to_write(end - 1) == []
    assert aggregator.bars_to_write(end + 1999) == []
    assert [bar.basis for bar in aggregator.bars_to_write(end + 2000)] == [Basis.PARTIAL]
    aggregator.bar(closed(trades, BASE))
    assert [bar.basis for bar in aggregator.bars_to_write(end + 2000)] == [
        Basis.PROVEN
    ]  # joined mid-stream, and yet counted whole


def test_the_venues_bar_stands_in_until_the_trades_are_there() -> None:
    trades = make(40, 3, minutes=2)
    first = [trade for trade in trades if trade.time_ms < BASE + 60_000]
    aggregator = Aggregator(["A-B"], settle_ms=2000)
    for trade in first[:-1]:  # the newest was lost, which no jump shows
        aggregator.trade(trade)
    aggregator.bar(closed(trades, BASE))
    end = BASE + 60_000
    assert aggregator.streams["A-B"].behind
    assert aggregator.bars_to_write(end + 100) == []
    frame = drain(aggregator, end + 2000)
    assert frame.select("source", "complete").rows() == [("venue_historical", True)]
    assert [minute.open_ms for _, minute in aggregator.doubts(end + 2000)] == [BASE]
    assert drain(aggregator, end + 3000).is_empty()
    result = aggregator.restate(answer(trades, BASE, end), end + 5000)
    assert result.added == first[-1:]
    frame = drain(aggregator, end + 5000)
    assert frame.select("source", "complete", "trade_count").rows() == [
        ("live_gap_filled", True, sum(trade.last_id - trade.first_id + 1 for trade in first))
    ]
    assert aggregator.doubts(end + 9000) == []


def test_a_silent_minute_is_the_venues_flat_bar() -> None:
    aggregator = Aggregator(["A-B"])
    aggregator.bar(closed([], BASE))
    frame = drain(aggregator, BASE + 60_004)
    assert frame.select("source", "complete", "volume", "open", "close", "trade_count").rows() == [
        ("live_aggregated", True, 0.0, 9.0, 9.0, 0)
    ]


def test_a_correction_outranks_the_live_bar_that_was_wrong() -> None:
    trades = make(30, 5, minutes=1)
    aggregator = Aggregator(["A-B"], states_bars=False, settle_ms=2000)
    aggregator.streams["A-B"].linked_ms = BASE - 1
    aggregator.streams["A-B"].ids.add(99, BASE - 1)
    for trade in trades[:-2]:
        aggregator.trade(trade)
    end = BASE + 60_000
    wrong = drain(aggregator, end + 2000)  # nothing speaks against it: the link was up and no id is missing
    assert wrong["complete"].to_list() == [True]
    aggregator.anchor(Anchor("A-B", trades[-1].trade_id, end + 4000))
    assert aggregator.streams["A-B"].behind
    aggregator.restate(answer(trades, trades[-3].time_ms, end + 4000), end + 9000)
    assert set(aggregator.late) == {("A-B", BASE)}
    aggregator.reopen("A-B", BASE, Written(True, "live_aggregated"))
    assert drain(aggregator, end + 9000).is_empty()
    aggregator.restate(answer(trades, BASE, end), end + 9000)
    right = drain(aggregator, end + 9000)
    assert right["source"].to_list() == ["live_aggregated"]
    assert right["complete"].to_list() == [True]
    assert right["revision"][0] > wrong["revision"][0]
    assert right.select(VALUES).equals(batch(trades).select(VALUES))


def test_false_ids_and_false_values_give_way_to_what_rest_states() -> None:
    trades = make(30, 6, minutes=1)
    aggregator = Aggregator(["A-B"])
    for trade in trades[:20]:
        aggregator.trade(trade)
    liar = LiveTrade("A-B", 900_000, 1, 1, trades[19].time_ms + 1, 7777.0, 1.0, True)
    aggregator.trade(liar)
    for trade in trades[21:]:
        aggregator.trade(trade)
    changed = LiveTrade(*(*[getattr(trades[20], name) for name in LiveTrade.__struct_fields__[:5]], 5555.0, 1.0, True))
    aggregator.trade(changed)
    end = BASE + 60_000
    result = aggregator.restate(answer(trades, BASE, end), end + 9000)
    assert {trade.trade_id for trade in result.removed} == {trades[20].trade_id, 900_000}
    assert result.added == [trades[20]]
    assert aggregator.holes() == []
    assert drain(aggregator, end + 9000).select(VALUES).equals(batch(trades).select(VALUES))


def test_a_trade_for_a_minute_let_go_of_opens_it_again() -> None:
    trades = make(60, 8, minutes=6)
    late = next(trade for trade in trades if trade.time_ms >= BASE + 60_000)
    aggregator = Aggregator(["A-B"], keep_ms=60_000)
    for trade in trades:
        if trade is not late:
            aggregator.trade(trade)
    for open_ms in range(BASE, BASE + 6 * 60_000, 60_000):
        aggregator.bar(closed(trades, open_ms))
    now = BASE + 10 * 60_000
    drain(aggregator, now)
    given_up = aggregator.let_go(now + 900_000)
    assert [open_ms for _, open_ms in given_up] == [BASE + 60_000]
    aggregator.now_ms = 0
    assert aggregator.trade(late)
    assert set(aggregator.late) == {("A-B", BASE + 60_000)}
    aggregator.reopen("A-B", BASE + 60_000, Written(True, "live_aggregated"))
    assert drain(aggregator, now).is_empty()  # what is in memory of it is not all
    aggregator.restate(answer(trades, BASE + 60_000, BASE + 120_000), now)
    frame = drain(aggregator, now)
    assert frame.select("source", "complete").rows() == [("live_aggregated", True)]
    expected = batch(trades).filter(pl.col("open_time") == frame["open_time"][0])
    assert frame.select(VALUES).equals(expected.select(VALUES))


def test_ids_the_venue_itself_does_not_show_are_no_longer_looked_for() -> None:
    trades = make(30, 9, minutes=1)
    shown = trades[:10] + trades[12:]
    aggregator = Aggregator(["A-B"])
    for trade in shown:
        aggregator.trade(trade)
    ((stream, hole),) = aggregator.holes()
    aggregator.restate(answer(shown, hole.start_ms, hole.end_ms + 1), BASE + 90_000)
    aggregator.void(stream, hole)
    assert aggregator.holes() == []
    assert [bar.basis for bar in aggregator.bars_to_write(BASE + 90_000)] == [Basis.PARTIAL]


def test_memory_is_bounded_by_letting_go_of_the_oldest() -> None:
    trades = make(300, 10, minutes=3)
    aggregator = Aggregator(["A-B"])
    for trade in trades:
        aggregator.trade(trade)
    aggregator.forget(BASE)
    assert aggregator.held == len([trade for trade in trades if trade.time_ms >= BASE + 60_000])
    assert aggregator.holes() == []
    kinds = {bar.minute.open_ms: bar.basis for bar in aggregator.bars_to_write(BASE + 200_000)}
    assert kinds[BASE + 60_000] is Basis.PARTIAL  # what came before is not known any more
    aggregator.reopen("A-B", BASE)
    aggregator.restate(answer(trades, BASE, BASE + 60_000), BASE + 200_000)
    kinds = {bar.minute.open_ms: bar.basis for bar in aggregator.bars_to_write(BASE + 200_000)}
    assert kinds == {BASE: Basis.PROVEN, BASE + 60_000: Basis.PROVEN, BASE + 120_000: Basis.PARTIAL}


def test_impossible_times_are_not_believed() -> None:
    aggregator = Aggregator(["A-B"])
    aggregator.bars_to_write(BASE)
    for ms in (BASE + 3_600_000, BASE - 30 * 86_400_000):
        assert not aggregator.trade(LiveTrade("A-B", 1, 1, 1, ms, 1.0, 1.0, True))
    assert not aggregator.trade(LiveTrade("X-Y", 1, 1, 1, BASE, 1.0, 1.0, True))
    assert (aggregator.counters["implausible"], aggregator.counters["strangers"]) == (2, 1)
    assert timedelta(milliseconds=aggregator.held) == timedelta(0)


def test_a_trade_with_an_odd_time_is_not_believed_before_rest_states_its_minute() -> None:
    truth = make(300, 5)
    for skew in (-1500, 1500, -30_000):
        aggregator = Aggregator(["A-B"])
        for place, trade in enumerate(truth):
            aggregator.now_ms = trade.time_ms + 80
            told = msgspec.structs.replace(trade, time_ms=trade.time_ms + skew) if place == 150 else trade
            aggregator.trade(told)
            if place == 150:
                wrong = {each - each % 60_000 for each in (told.time_ms, trade.time_ms)}
        frames = [drain(aggregator, BASE + 4 * 60_000)]
        doubted = {minute.open_ms for _, minute in aggregator.doubts(BASE + 4 * 60_000)}
        assert wrong <= doubted
        assert aggregator.counters["odd"]
        for open_ms in sorted(doubted | wrong):
            aggregator.restate(answer(truth, open_ms, open_ms + 60_000), open_ms + 120_000)
        frames.append(drain(aggregator, BASE + 5 * 60_000))
        written = pl.concat(frames).unique(["instrument", "open_time"], keep="last").sort("open_time")
        assert written.select("open_time", *VALUES).equals(batch(truth).select("open_time", *VALUES))


def odd_singles(trades: list[LiveTrade], rng: random.Random, share: float) -> list[LiveTrade]:
    """Some aggregates sum what another one of the tape sums, or claim ids that jump; the aggregate ids run on."""
    changed = []
    for trade in trades:
        if rng.random() < share:
            first = max(0, trade.first_id + rng.randint(-4, 4))
            trade = msgspec.structs.replace(trade, first_id=first, last_id=first + rng.randint(0, 3))
        changed.append(trade)
    return changed


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 60), st.integers(0, 10_000), st.floats(0, 0.3), st.integers(0, 30), st.integers(1, 9))
def test_overlapping_individual_trades_give_the_same_bars_live_as_in_batch(
    count: int, seed: int, share: float, shuffle: int, looks: int
) -> None:
    rng = random.Random(seed)
    truth = odd_singles(make(count, seed), rng, share)
    arriving = shuffled(truth, rng, shuffle)
    aggregator = Aggregator(["A-B"], states_bars=True, rate=1000.0)
    written = write_all(aggregator, arriving, looks)
    expected = batch(truth).sort("open_time")
    assert written.select("open_time", *VALUES).equals(expected.select("open_time", *VALUES))
    # a bar that the stream calls whole is whole; at the ends of the tape only the stream knows that it ended
    whole = written.filter("complete")["open_time"].to_list()
    assert expected.filter(pl.col("open_time").is_in(whole))["complete"].all()


def test_a_minute_of_overlapping_aggregates_is_the_venues_own_bar() -> None:
    """The aggregate ids run on; REST is asked, says the same, and then the venue's bar is believed."""
    at = [BASE + 60_000 + second * 1000 for second in (1, 2, 3)]
    before = LiveTrade("A-B", 9, 69, 69, BASE + 59_000, 1.0, 1.0, True)
    odd = [
        LiveTrade("A-B", number, single, single, ms, 1.0, 1.0, True)
        for number, single, ms in zip((10, 11, 12), (70, 71, 70), at, strict=True)
    ]
    after = LiveTrade("A-B", 13, 72, 72, BASE + 121_000, 1.0, 1.0, True)
    trades = [before, *odd, after]
    aggregator = Aggregator(["A-B"], rate=1000.0)
    for trade in trades:
        aggregator.now_ms = trade.time_ms
        aggregator.trade(trade)
    assert [(hole.first, hole.last) for _, hole in aggregator.holes()] == [(12, 11), (13, 12)]
    rest = answer(trades, BASE, BASE + 180_000)
    assert aggregator.restate(rest, BASE + 190_000).removed == []
    for stream, hole in aggregator.holes():
        aggregator.void(stream, hole)
    stated = closed([before, *odd[:2], after], BASE + 60_000)
    aggregator.bar(stated)
    aggregator.now_ms = BASE + 190_000
    chosen = {each.minute.open_ms: each for each in aggregator.bars_to_write(BASE + 190_000)}[BASE + 60_000]
    assert chosen.basis is Basis.STATED
    (bar,) = aggregator.frame([chosen]).iter_rows(named=True)
    assert (bar["volume"], bar["trade_count"], bar["source"]) == (2.0, 2, "venue_historical")
