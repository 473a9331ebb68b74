"""A market that cannot be read costs itself alone: the others are listed, and it is named."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.venues import FetchPlan, MalformedAnswer, UnknownSymbol
from crypto_pipeline.venues.ccxt.market_rows import without_unreadable_rows
from crypto_pipeline.venues.ccxt.rest import CcxtRest
from crypto_pipeline_tests.venues.contract.broken_markets import listing_with
from crypto_pipeline_tests.venues.contract.ccxt_wires import (
    CCXT_WIRES,
    BitfinexWire,
    BitstampWire,
    CcxtWire,
    GateWire,
    KucoinWire,
    OkxWire,
)
from crypto_pipeline_tests.venues.contract.market import MINUTE, Market
from crypto_pipeline_tests.venues.contract.server import serving, told

#: Fields of a row by exchange: its id, its base asset, a precision, a limit. Bitfinex has one name for the first two.
FIELDS: dict[type[CcxtWire], tuple[str, str, str, str]] = {
    BitstampWire: ("market_symbol", "base_currency", "base_decimals", "minimum_order_value"),
    KucoinWire: ("symbol", "baseCurrency", "baseIncrement", "baseMinSize"),
    OkxWire: ("instId", "baseCcy", "lotSz", "minSz"),
    GateWire: ("id", "base", "amount_precision", "min_base_amount"),
}


def broken(wire: CcxtWire, row: Any) -> list[Any]:
    """Rows that are unreadable in different ways."""
    odd: list[Any] = [None, 7, "text", [], {}]
    if isinstance(wire, BitfinexWire):
        return [*odd, [None, *row[1:]], [[], *row[1:]], [{"a": 1}, *row[1:]]]
    name, base, step, _ = FIELDS[type(wire)]
    without = {key: value for key, value in row.items() if key not in (name, base)}
    return [
        *odd, without, row | {name: None, base: None}, row | {name: [], base: {}}, row | {name: 7, base: 7},
        row | {name: "BAD-USDT", base: "BAD", step: "much"},
    ]  # fmt: skip


@pytest.mark.parametrize("kind", CCXT_WIRES, ids=lambda kind: kind.name)
async def test_unreadable_rows_cost_themselves_alone(kind: type[CcxtWire], caplog: pytest.LogCaptureFixture) -> None:
    wire = kind(Market())
    async with serving(wire) as (server, venue):
        truth = {one.venue_symbol: one for one in await venue.listings()}
        assert {wire.symbol("BTC"), wire.symbol("ETH")} <= truth.keys()

        def change(rows: list[Any]) -> list[Any]:
            odd, middle = broken(wire, rows[0]), len(rows) // 2
            return [*odd[:2], *rows[:middle], *odd[2:5], *rows[middle:], *odd[5:]]

        server.fail("listings", listing_with(wire, change))
        asked = len(server.requests)
        with caplog.at_level(logging.WARNING):
            found = {one.venue_symbol: one for one in await venue.listings()}
        once = len(server.requests) - asked
        assert truth.items() <= found.items()
        assert found.keys() - truth.keys() <= {wire.symbol("7"), wire.symbol("BAD")}, "these have names"
        named = [each for each in caplog.messages if "a market cannot be read and is skipped" in each]
        # some releases of ccxt leave out rows of OKX without an id by themselves
        assert named or kind is OkxWire
        assert all(each.startswith(f"{wire.name}: ") for each in named)
        assert await venue.last_bar(wire.symbol("BTC")) is not None
        # the next answer is whole again
        asked = len(server.requests)
        assert {one.venue_symbol: one for one in await venue.listings()} == truth
        assert len(server.requests) - asked == once, "nothing was asked for again to find the rows"


@pytest.mark.parametrize("kind", [BitstampWire, KucoinWire, OkxWire, GateWire], ids=lambda kind: kind.name)
async def test_of_two_markets_with_one_name_the_same_stays_whatever_their_order(
    kind: type[CcxtWire], caplog: pytest.LogCaptureFixture
) -> None:
    wire = kind(Market())
    name, _, _, limit = FIELDS[kind]
    own = kind in (BitstampWire, OkxWire)  # the others make the name of the symbol of the id
    async with serving(wire) as (server, venue):
        truth = await venue.listings()
        for turn in (1, -1):

            def change(rows: list[Any], turn: int = turn) -> list[Any]:
                other = next(row for row in rows if row[name].upper().startswith("BTC"))
                return [*rows, other | {name: f"{other[name]}{'2' if own else ''}", limit: "none"}][::turn]

            server.fail("listings", listing_with(wire, change))
            with caplog.at_level(logging.WARNING):
                assert sorted(await venue.listings(), key=str) == sorted(truth, key=str)
            exchange = cast(CcxtRest, venue).exchange
            assert exchange.market(wire.symbol("BTC"))["id"].upper()[-1] != "2"
            assert f"another market is {wire.symbol('BTC')} too" in caplog.text
            caplog.clear()


async def test_a_row_of_another_list_is_found_too(caplog: pytest.LogCaptureFixture) -> None:
    """ccxt reads KuCoin's tickers with its markets, and Gate's pairs of margin with those of spot."""
    for wire in (KucoinWire(Market()), GateWire(Market())):
        async with serving(wire) as (server, venue):
            truth = await venue.listings()
            odd: Any = [None, {"a": 1}]
            server.fail(
                "other", told({"code": "200000", "data": {"ticker": odd}} if wire.name == "ccxt_kucoin" else odd)
            )
            server.fail("listings", listing_with(wire, lambda rows: [*rows, None]))
            with caplog.at_level(logging.WARNING):
                assert await venue.listings() == truth


async def test_a_list_without_a_readable_market_is_refused_and_the_markets_before_it_stay() -> None:
    wire = KucoinWire(Market())
    async with serving(wire) as (server, venue):
        truth = await venue.listings()
        server.fail("listings", *[listing_with(wire, lambda rows: [{}, 7, None])] * 9)
        with pytest.raises(MalformedAnswer, match="ccxt cannot read the answer"):
            await venue.listings()
        assert await venue.last_bar(wire.symbol("BTC")) is not None
        server.drop("listings")
        assert await venue.listings() == truth


async def test_markets_are_asked_for_again_while_one_that_is_needed_is_not_among_them() -> None:
    wire = OkxWire(Market())
    now = 100.0
    async with serving(wire) as (server, client):
        venue = cast(CcxtRest, client)
        venue.monotonic = lambda: now
        server.fail("listings", *[listing_with(wire, lambda rows: [row for row in rows if "ETH" not in str(row)])] * 3)
        end = from_unix_ms(wire.market.now // MINUTE * MINUTE - 5 * MINUTE)

        async def bars(base: str) -> int:
            plan = FetchPlan(base, wire.symbol(base), Timeframe.M1, [(end - timedelta(hours=1), end)])
            errors: list[Any] = []
            answers = [each async for each in venue.bars_many([plan], on_error=lambda *error: errors.append(error))]
            assert all(isinstance(error, UnknownSymbol) for _, error in errors)
            return sum(each.bars.height for each in answers)

        for wait, asked in ((0.0, 1), (1.0, 1), (30.0, 2), (31.0, 2), (30.0, 3), (60.0, 3)):
            now += wait
            assert await bars("BTC"), "its neighbour goes on"
            assert not await bars("ETH")
            assert len(server.asked("listings")) == asked
        now += 60.0
        assert await bars("ETH")
        assert len(server.asked("listings")) == 4


Row = dict[str, int]


@given(
    st.lists(st.lists(st.booleans(), max_size=40), min_size=1, max_size=4),
    st.sampled_from(["list", "object", "lists", "documents"]),
)
async def test_the_rows_that_fail_are_found_wherever_they_are(good: list[list[bool]], shape: str) -> None:
    tables: list[list[Row]] = [
        [{"at": 100 * number + place, "good": int(each)} for place, each in enumerate(table)]
        for number, table in enumerate(good)
    ]
    keyed = [{str(row["at"]): row for row in table} for table in tables]
    documents: list[Any] = {
        "list": [{"code": 0, "data": tables[0]}],
        "object": [{"code": 0, "result": keyed[0]}],
        "lists": [tables],
        "documents": [{"code": 0, "data": {"list": table}} for table in tables],
    }[shape]

    def rows_in(node: Any) -> list[Row]:
        if isinstance(node, dict) and "at" in node:
            return [node]
        each = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        return [row for one in each for row in rows_in(one)]

    async def read(parts: Sequence[Any]) -> int:
        rows = rows_in(list(parts))
        if not all(row["good"] for row in rows):
            raise MalformedAnswer("a row is unreadable")
        return len(rows)

    whole = rows_in(documents)
    if (shape == "object" and len(tables[0]) < 3) or not any(row["good"] for row in whole):
        return
    left, unreadable = await without_unreadable_rows(documents, read)
    assert rows_in(left) == [row for row in whole if row["good"]]
    assert [each.row for each in unreadable] == [row for row in whole if not row["good"]]
