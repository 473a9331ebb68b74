"""Exchanges of ccxt through our client: budget instead of limiter, errors with status 200, what is refused."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import timedelta

import pytest
from aiohttp import web

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.settings import Settings
from crypto_pipeline.venue_names import ccxt_exchanges
from crypto_pipeline.venues import (
    BarsAnswer,
    BudgetLimit,
    FetchPlan,
    MalformedAnswer,
    MemoryBudget,
    SpanRefused,
    UnknownSymbol,
    Venue,
    VenueError,
    make_venue,
    require_keys,
)
from crypto_pipeline.venues.ccxt import library
from crypto_pipeline_tests.builders.scripted_binance import body
from crypto_pipeline_tests.venues.contract.ccxt_wires import (
    BitfinexWire,
    BitstampWire,
    CcxtWire,
    GateWire,
    KucoinWire,
    OkxWire,
)
from crypto_pipeline_tests.venues.contract.market import MINUTE, Market, Row
from crypto_pipeline_tests.venues.contract.server import ScriptedServer, Unlimited, serving, told


async def fetch(venue: Venue, wire: CcxtWire, minutes: int) -> list[BarsAnswer]:
    end = wire.market.now // MINUTE * MINUTE - 5 * MINUTE
    span = from_unix_ms(end - minutes * MINUTE), from_unix_ms(end)
    plan = FetchPlan("BTC", wire.symbol("BTC"), Timeframe.M1, [span])
    return [answer async for answer in venue.bars_many([plan])]


async def test_the_budget_is_ours_and_the_limiter_of_ccxt_never_waits() -> None:
    wire = BitfinexWire(Market())  # of which ccxt says that a request counts for 250 ms and more
    budget = Unlimited()
    async with ScriptedServer(wire) as server:
        venue = wire.client(server.url, budget)
        begun = time.monotonic()
        await asyncio.gather(*(venue.last_bar(wire.symbol("BTC")) for _ in range(20)))
        assert time.monotonic() - begun < 4, "ccxt would take five seconds"
        assert budget.booked >= 20 * 250
        await venue.close()
        # and our budget holds requests back
        small = MemoryBudget()
        venue = wire.client(server.url, small)
        await venue.server_time()
        assert small.allowed == 9_000, "ten seconds of milliseconds, of which nine tenths may be used"
        await small.limit(BudgetLimit(1_000, 0.2))
        before = len(server.log)
        await asyncio.gather(*(venue.last_bar(wire.symbol("BTC")) for _ in range(6)))
        assert len(server.log) - before == 6
        assert small.waited > 0.1
        await venue.close()


async def test_refusals_that_come_with_status_200_are_read() -> None:
    wire = OkxWire(Market())
    async with serving(wire) as (server, venue):
        begun = time.monotonic()
        server.fail("bars", told({"code": "50011", "msg": "Rate limit reached.", "data": []}))
        assert sum(answer.bars.height for answer in await fetch(venue, wire, 30))
        assert time.monotonic() - begun > 0.9, "a pause of a second"
        server.fail("bars", told({"code": "50001", "msg": "Service temporarily unavailable.", "data": []}))
        assert await fetch(venue, wire, 30)
        server.fail("bars", told({"code": "51001", "msg": "Instrument ID does not exist", "data": []}))
        with pytest.raises(UnknownSymbol, match="Instrument ID does not exist"):
            await fetch(venue, wire, 30)
        server.fail("bars", told({"code": "50014", "msg": "Parameter bar can not be empty", "data": []}))
        with pytest.raises(VenueError, match="can not be empty") as caught:
            await fetch(venue, wire, 30)
        assert caught.value.permanent


async def test_an_answer_of_another_shape_gives_no_bars_and_no_other_error() -> None:
    wire = KucoinWire(Market())
    async with serving(wire) as (server, venue):
        await venue.listings()
        # ccxt drops rows that it cannot read: they are holes then, which nothing explains
        rows = [[None, [], {}], 7, "text"], {"a": 1}, None
        for handler in (*(told({"code": "200000", "data": each}) for each in rows), body(b'["'), body(b"0")):
            server.fail("bars", *[handler] * 20)
            with suppress(MalformedAnswer):
                assert not sum(answer.bars.height for answer in await fetch(venue, wire, 30))
            server.drop("bars")
            assert sum(answer.bars.height for answer in await fetch(venue, wire, 30)), "the next answer counts"


async def test_without_a_clock_nothing_is_final() -> None:
    """An exchange without a time endpoint whose answers have no date either."""

    class Dateless(BitstampWire):
        def answer(self, request: web.Request) -> web.StreamResponse:
            answer = super().answer(request)
            answer.headers["Date"] = ""
            return answer

    async with serving(Dateless(Market())) as (_, venue):
        with pytest.raises(VenueError, match="states its time neither in a body nor in the header"):
            await venue.server_time()
        assert not (await venue.status()).reachable


async def test_the_row_that_a_page_lost_at_its_begin_is_asked_for_again() -> None:
    """0 rows lost at the seams, although each page lacks its first row."""
    wire = BitfinexWire(Market())
    wire.market.twist = lambda rows: rows[1:] if len(rows) > 5 else rows
    async with serving(wire) as (_, venue):
        answers = await fetch(venue, wire, 2_500)
        end = wire.market.now // MINUTE * MINUTE - 5 * MINUTE
        rows: list[Row] = wire.market.bars(wire.market.pairs["BTC"], MINUTE, flat=False)
        times = [ms for answer in answers for ms in answer.bars["open_time"].dt.epoch("ms").to_list()]
        assert times == [row.time for row in rows if end - 2_500 * MINUTE <= row.time < end]


async def test_a_span_that_is_too_long_ago_costs_its_page_alone() -> None:
    class Forgetful(GateWire):
        kept = 1_500

    wire = Forgetful(Market())
    end = wire.market.now // MINUTE * MINUTE - 5 * MINUTE
    plan = FetchPlan("BTC", wire.symbol("BTC"), Timeframe.M1, [(from_unix_ms(end - 3_400 * MINUTE), from_unix_ms(end))])
    errors: list[tuple[FetchPlan, VenueError]] = []
    async with serving(wire) as (server, venue):
        found = [each async for each in venue.bars_many([plan], on_error=lambda *error: errors.append(error))]
        assert all(isinstance(error, SpanRefused) and "too long ago" in str(error) for _, error in errors)
        assert len(server.asked("bars")) == len(errors) + len(found), "no refusal is asked for again"
    refused = [span for failed, _ in errors for span in failed.spans]
    assert refused[0][0] == plan.spans[0][0]
    assert refused[-1][1] == found[0].start
    assert found[0].start < from_unix_ms(wire.market.now - 500 * MINUTE), "at most a page of what it has"
    times = [ms for answer in found for ms in answer.bars["open_time"].dt.epoch("ms").to_list()]
    tape = [row.time for row in wire.market.bars(wire.market.pairs["BTC"], MINUTE, flat=False)]
    assert times == [time for time in tape if unix_ms(found[0].start) <= time < end]


def test_every_exchange_of_ccxt_makes_a_client_or_says_why_not() -> None:
    """Two facts of each, whatever ccxt says of it; nothing is asked."""
    without = []
    for name in ccxt_exchanges():
        try:
            venue = make_venue(Settings(), venue=f"ccxt_{name}")
        except ValueError:
            without.append(name)
        else:
            assert venue.name == f"ccxt_{name}"
            assert venue.traits.timeframes
            assert venue.traits.settle_delay == timedelta(seconds=10)
    assert "bit2c" in without
    assert len(without) < 25
    with pytest.raises(ValueError, match="ccxt reads no bars of bit2c: choose another venue"):
        require_keys(Settings(venue="ccxt_bit2c"))


async def test_what_is_given_by_post_alone_is_asked_for_with_its_body() -> None:
    """Hyperliquid takes POST alone, with what is asked for as its body."""

    async def send(request: library.Sent) -> object:
        sent.append(request)
        token = {"szDecimals": 2, "weiDecimals": 8}
        tokens = [token | {"name": name, "index": place} for place, name in enumerate(("USDC", "PURR"))]
        pair = {"name": "PURR/USDC", "tokens": [1, 0], "index": 0, "isCanonical": True}
        prices = {"markPx": "1.0", "midPx": "1.0", "prevDayPx": "1.0", "dayNtlVlm": "1.0", "circulatingSupply": "1.0"}
        return [{"tokens": tokens, "universe": [pair, {"name": None}]}, [prices | {"coin": "PURR/USDC"}, {}]]

    sent: list[library.Sent] = []
    exchange = library.make_exchange("hyperliquid", send)
    markets = await exchange.load_markets()
    assert [name for name, one in markets.items() if one["spot"]] == ["PURR/USDC"]
    assert {each.content for each in sent} == {b'{"type":"spotMetaAndAssetCtxs"}'}
    with pytest.raises(VenueError, match=r"hyperliquid gives .* only for PUT, which is not sent here") as caught:
        await exchange.fetch("https://api.hyperliquid.xyz/info", "PUT")
    assert caught.value.permanent
