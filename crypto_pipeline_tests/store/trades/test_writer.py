"""Trades written in batches, restated spans, and reading them back.

Guards I1 (docs/invariants.md).
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from crypto_pipeline.market.bars import TRADE_SCHEMA, BarOrigin
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.aggregation import bars_from_trades
from crypto_pipeline.store import LivePrice, Store
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.database.sessions.pooler import direct_url
from crypto_pipeline.venues import RejectedRow

START = datetime(2026, 3, 30, 23, 59, tzinfo=UTC)


def trades(ids: list[int], symbol: str = "BTC-USDT", **values: Any) -> pl.DataFrame:
    rows = [
        {
            "instrument": symbol,
            "trade_id": number,
            "first_id": 10 * number,
            "last_id": 10 * number + 9,
            "time": START + timedelta(seconds=number),
            "price": 100.0 + number,
            "quantity": 0.5,
            "taker_side": "buy" if number % 2 else "sell",
        }
        | values
        for number in ids
    ]
    return pl.DataFrame(rows, schema=TRADE_SCHEMA, orient="row")


def read(store: Store, *symbols: str) -> pl.DataFrame:
    return store.trades.read("replay", symbols or ["BTC-USDT"], START - timedelta(days=1), START + timedelta(days=1))


@pytest.fixture
def clean(store: Store) -> Store:
    store.connections.run(
        lambda connection: (
            connection.execute("TRUNCATE market.trades, market.trades_apart, market.live_prices, ops.leases") and None
        )
    )
    return store


def test_trades_come_back_as_they_were_however_often_they_are_written(clean: Store) -> None:
    first = trades([1, 2, 3, 70, 71])  # over midnight: two days
    assert clean.trades.write("replay", first) == 5
    assert clean.trades.write("replay", first) == 0
    assert clean.trades.write("replay", trades([3, 4, 70, 72])) == 2
    assert read(clean).equals(trades([1, 2, 3, 4, 70, 71, 72]))
    assert clean.trades.write("coinbase", trades([1])) == 1  # another venue's ids are its own
    assert len(read(clean)) == 7


def test_last_ids_and_what_is_missing(clean: Store) -> None:
    clean.trades.write("replay", pl.concat([trades([5, 6, 9, 12]), trades([1, 2], "ETH-USDT")]))
    last = clean.trades.last_ids("replay", ["BTC-USDT", "ETH-USDT", "DOGE-USDT"])
    assert {name: each.trade_id for name, each in last.items()} == {"BTC-USDT": 12, "ETH-USDT": 2}
    assert last["BTC-USDT"].last_id == 129
    assert last["BTC-USDT"].time == START + timedelta(seconds=12)
    missing = clean.trades.missing("replay", ["BTC-USDT", "ETH-USDT"], START, START + timedelta(days=1))
    assert missing.select("instrument", "first_missing", "last_missing").rows() == [
        ("BTC-USDT", 7, 8),
        ("BTC-USDT", 10, 11),
    ]
    assert missing["start"].to_list() == [START + timedelta(seconds=6), START + timedelta(seconds=9)]


def test_a_second_statement_replaces_what_differs(clean: Store) -> None:
    clean.trades.write("replay", trades([1, 2, 3, 9, 1000]))
    clean.trades.write("replay", trades([4], price=1.0))
    clean.trades.write("replay", trades([8], time=START + timedelta(hours=3)))
    truth = trades([2, 3, 4, 5])
    start, end = START + timedelta(seconds=2), START + timedelta(seconds=6)
    found = clean.trades.restate("replay", "BTC-USDT", start, end, truth, also=[8])
    assert found == (2, 2, 0)
    assert read(clean).equals(trades([1, 2, 3, 4, 5, 9, 1000]))
    assert clean.trades.restate("replay", "BTC-USDT", start, end, truth) == (0, 0, 0)
    apart = clean.trades.apart.read(["BTC-USDT"])
    assert apart.select("reason", "trade_id", "price").rows() == [("removed", 8, 108.0), ("replaced", 4, 1.0)]


def test_only_ids_prove_that_a_trade_was_false(clean: Store) -> None:
    clean.trades.write("replay", trades([1, 2]))
    clean.trades.write("replay", trades([1003], time=START + timedelta(seconds=3)))
    clean.trades.write("replay", trades([1005], time=START + timedelta(seconds=5)))
    truth, span = trades([1, 2, 3]), (START, START + timedelta(seconds=9))
    final = START + timedelta(seconds=4)
    # the end of the span was not seen: what is above all ids that were stated may be newer than the answer
    assert clean.trades.restate("replay", "BTC-USDT", *span, truth, id_before=0, final=final) == (1, 0, 0)
    assert read(clean)["trade_id"].to_list() == [1, 2, 3, 1003, 1005]
    # ids run on over the whole span: nothing else can have happened in it
    assert clean.trades.restate("replay", "BTC-USDT", *span, truth, id_before=0, id_after=4) == (0, 2, 0)
    assert read(clean)["trade_id"].to_list() == [1, 2, 3]
    assert clean.trades.apart.read(["BTC-USDT"])["trade_id"].to_list() == [1003, 1005]


@pytest.mark.parametrize("lacks", ["all", "some"])
def test_an_answer_that_merely_lacks_trades_removes_none(clean: Store, lacks: str) -> None:
    clean.trades.write("replay", trades(list(range(1, 41))))
    stated = trades([] if lacks == "all" else [1, 2, 3, 30, 31, 40])
    span = START, START + timedelta(seconds=41)
    for _ in range(2):
        found = clean.trades.restate("replay", "BTC-USDT", *span, stated, id_before=0, final=span[1])
        assert (found.added, found.removed, found.contradicted) == (0, 0, 40 - stated.height)
    assert read(clean).equals(trades(list(range(1, 41))))
    apart = clean.trades.apart.read(["BTC-USDT"])
    assert apart.select("reason", "times").unique().rows() == [("contradicted", 2)]
    assert apart.height == 40 - stated.height


def test_trades_that_cannot_be_are_written_down_once(clean: Store) -> None:
    rows = [
        RejectedRow(1_767_571_200_000, "price is no number", "p NaN", 7),
        RejectedRow(None, "not a row", "{}", None),
    ]
    for _ in range(3):
        clean.trades.refuse("replay", "BTC-USDT", [*rows, RejectedRow(5, "an id is too large", "", 2**70)])
    found = clean.trades.apart.read(["BTC-USDT"])
    assert found.select("reason", "times").unique().rows() == [("refused", 3)]
    assert found.height == 3
    clean.trades.apart.forget_before(date(2200, 1, 1))
    assert clean.trades.apart.read(["BTC-USDT"]).is_empty()


def minute_of_trades(minute: int, *ids: int) -> pl.DataFrame:
    opened = START + timedelta(minutes=minute)
    return pl.concat([trades([number], time=opened + timedelta(seconds=number % 10)) for number in ids])


def test_minutes_whose_trades_are_not_those_of_their_bar_are_found(clean: Store) -> None:
    end = START + timedelta(minutes=5)

    def differing(minute: int = 0) -> list[tuple[int, str | None]]:
        found = clean.trades.differing("replay", ["BTC-USDT", "ETH-USDT"], START + timedelta(minutes=minute), end)
        assert found["instrument"].unique().to_list() in ([], ["BTC-USDT"])
        return [((at - START).seconds // 60, source) for at, source in found.select("open_time", "source").rows()]

    def write_bars(*frames: pl.DataFrame) -> None:
        made_of = {"source": BarOrigin.LIVE_AGGREGATED, "revision": end}
        clean.bars.write(bars_from_trades(pl.concat(frames), Timeframe.M1, **made_of), Timeframe.M1)

    live = "live_aggregated"
    stored = [minute_of_trades(0, 1, 2), minute_of_trades(1, 3, 5), minute_of_trades(3, 6, 7)]
    for frame in stored:
        clean.trades.write("replay", frame)
    assert differing() == [(0, None), (1, None), (3, None)]
    write_bars(*stored)
    assert differing() == [(1, live)]  # an id is absent between two
    clean.trades.write("replay", minute_of_trades(1, 4))
    assert differing() == [(1, live)]  # the bar lacks one
    clean.trades.restate("replay", "BTC-USDT", START, end, pl.concat(stored))
    assert differing() == [(1, live)]
    # an id is absent between two minutes, and neither of their bars knows of it
    clean.trades.write("replay", minute_of_trades(4, 9))
    write_bars(minute_of_trades(4, 9))
    assert differing(4) == [(3, live), (4, live)]
    clean.trades.restate("replay", "BTC-USDT", START, end, pl.concat(stored[:2]))
    assert differing(2) == [(3, live), (4, live)]  # bars without trades


def test_whole_days_are_dropped(clean: Store) -> None:
    clean.trades.write("replay", trades([1, 70]))
    assert clean.trades.drop_before(date(2026, 3, 31)) == [date(2026, 3, 30)]
    assert read(clean).equals(trades([70]))
    clean.trades.write("replay", trades([1]))
    assert len(read(clean)) == 2


def test_prices_are_written_with_their_trades_and_told(clean: Store) -> None:
    price = LivePrice("BTC-USDT", Timeframe.M1, 60_000, 1, 3, 1, 2, 5, 6, None, 7, 2.0, 61_000, 9, "live_aggregated")
    with connect(direct_url(clean.url)) as listener:
        listener.execute("LISTEN live_prices")
        assert clean.live.flush("replay", clean.trades.columns(trades([1, 2])), [price]) == (2, 1)
        told = next(listener.notifies(timeout=10, stop_after=1))
        assert (told.channel, told.payload) == ("live_prices", "BTC-USDT")
    price.last_price, price.close = 3.0, 3.0
    clean.live.flush("replay", None, [price])
    row = clean.live.prices().row(0, named=True)
    assert (row["instrument"], row["last_price"], row["high"], row["trade_count"]) == ("BTC-USDT", 3.0, 3.0, 7)
    assert row["open_time"] == datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    assert row["age"] < 60
