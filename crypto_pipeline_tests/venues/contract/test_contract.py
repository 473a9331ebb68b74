"""What every venue does, whatever its wire format: against its own scripted server, on a real socket."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import aclosing, nullcontext, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import polars as pl
import pytest
import pytest_asyncio

from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.venues import (
    REGISTRY,
    BarsAnswer,
    FetchPlan,
    ListingStatus,
    TradesAnswer,
    UnknownSymbol,
    Venue,
    VenueError,
    traits_of,
)
from crypto_pipeline_tests.builders.scripted_binance import body, status, truncated
from crypto_pipeline_tests.venues.contract.market import DAY, MINUTE, Market, Row
from crypto_pipeline_tests.venues.contract.server import ScriptedServer, Unlimited, Wire, endless, refused, serving
from crypto_pipeline_tests.venues.contract.wires import WIRES, wire_of

#: Seconds of the shortest pause that a client makes where the venue demands one.
PAUSE = 0.1
VALUES = ["open_time", "open", "high", "low", "close", "volume"]


@pytest.fixture(params=list(dict.fromkeys([*REGISTRY, *WIRES])))
def wire(request: pytest.FixtureRequest) -> Wire:
    return wire_of(request.param, Market())


@pytest_asyncio.fixture
async def running(wire: Wire) -> AsyncIterator[tuple[ScriptedServer, Venue]]:
    async with serving(wire) as both:
        yield both


async def fetch(
    venue: Venue,
    wire: Wire,
    start: int,
    end: int,
    base: str = "BTC",
    errors: list[tuple[FetchPlan, VenueError]] | None = None,
) -> list[BarsAnswer]:
    """Answers for the minutes of ``[start, end)`` (Unix ms); failures in ``errors``, else raised."""
    plan = FetchPlan(base, wire.symbol(base), Timeframe.M1, [(from_unix_ms(start), from_unix_ms(end))])
    on_error = None if errors is None else lambda plan, error: errors.append((plan, error))
    async with aclosing(venue.bars_many([plan], archive=False, on_error=on_error)) as found:  # type: ignore[type-var]
        return [answer async for answer in found]


def settled(venue: Venue, market: Market) -> int:
    """End of the newest bar that is final by the venue's clock, Unix ms."""
    until = market.now - venue.traits.settle_delay // timedelta(milliseconds=1)
    return until // MINUTE * MINUTE


def assert_rows(wire: Wire, answers: list[BarsAnswer], start: int, end: int, base: str = "BTC") -> None:
    """The answers cover ``[start, end)`` (Unix ms) in order, with just the rows of the market."""
    assert (unix_ms(answers[0].start), unix_ms(answers[-1].end)) == (start, end)
    assert all(earlier.end == later.start for earlier, later in pairwise(answers))
    bars = pl.concat(answer.bars for answer in answers)
    assert dict(bars.schema) == BAR_SCHEMA
    assert not [one for answer in answers for one in answer.refused]
    assert bars["complete"].all()
    rows = [row for row in wire.market.bars(wire.market.pairs[base], MINUTE, flat=wire.flat) if start <= row.time < end]
    stated = bars.select(pl.col("open_time").dt.epoch("ms"), *VALUES[1:]).rows()
    assert [row[0] for row in stated] == [row.time for row in rows]
    for got, row in zip(stated, rows, strict=True):
        assert got[1:5] == row[1:5]
        assert got[5] == pytest.approx(row.volume, rel=1e-9, abs=1e-12)


def test_every_venue_has_a_wire() -> None:
    assert set(REGISTRY) <= set(WIRES)


async def test_rows_at_the_edges_of_pages(wire: Wire, running: tuple[ScriptedServer, Venue]) -> None:
    end = settled(running[1], wire.market) - 7 * MINUTE
    for rows in {wire.page - 1, wire.page, wire.page + 1, min(2 * wire.page + 7, 2100)}:
        start = end - rows * MINUTE
        assert_rows(wire, await fetch(running[1], wire, start, end), start, end)


async def test_a_span_off_the_grid_and_into_the_future_ends_with_the_last_final_bar(
    wire: Wire, running: tuple[ScriptedServer, Venue]
) -> None:
    end = settled(running[1], wire.market)
    start = end - 30 * MINUTE
    answers = await fetch(running[1], wire, start - 20_000, end + DAY)
    assert_rows(wire, answers, start, end)


@pytest.mark.parametrize("shift", [-3_600_000, -30_000, -23_000, 20_000, 3_600_000])
async def test_the_clock_of_the_venue_decides_what_is_final(wire: Wire, shift: int) -> None:
    """A clock far behind or ahead of this machine's, and a moment after the end of a bar that has not settled."""
    market = wire.market
    market.now += shift
    if shift > 0:  # the market goes on: the same trades, later
        market.pairs["BTC"].trades = tuple(
            replace(deal, us=deal.us + shift * 1000) for deal in market.pairs["BTC"].trades
        )
    async with serving(wire) as (_, venue):
        end = settled(venue, market)
        answers = await fetch(venue, wire, end - 40 * MINUTE, end + DAY)
        assert_rows(wire, answers, end - 40 * MINUTE, end)
        assert abs(unix_ms(await venue.server_time()) - market.now) < 2_000


async def test_rows_that_come_twice_and_in_another_order(wire: Wire, running: tuple[ScriptedServer, Venue]) -> None:
    def twist(rows: list[Row]) -> list[Row]:
        mixed = [*rows, *rows[:: max(1, len(rows) // 7)]]
        random.Random(1).shuffle(mixed)
        return mixed

    wire.market.twist = twist
    end = settled(running[1], wire.market)
    start = end - (wire.page // 2) * MINUTE
    assert_rows(wire, await fetch(running[1], wire, start, end), start, end)


async def test_a_row_that_cannot_be_costs_itself_alone(wire: Wire, running: tuple[ScriptedServer, Venue]) -> None:
    end = settled(running[1], wire.market)
    start = end - 60 * MINUTE
    rows = [row for row in wire.market.bars(wire.market.pairs["BTC"], MINUTE, flat=wire.flat) if start <= row.time]
    wrong = rows[len(rows) // 2].time
    wire.market.twist = lambda rows: [row._replace(high=row.low / 2) if row.time == wrong else row for row in rows]
    answers = await fetch(running[1], wire, start, end)
    assert [one.ms for answer in answers for one in answer.refused] == [wrong]
    wire.market.hidden = frozenset([wrong])
    stripped = [replace(answer, refused=()) for answer in answers]
    assert_rows(wire, stripped, start, end)


async def test_bars_that_the_venue_leaves_out_are_holes(wire: Wire, running: tuple[ScriptedServer, Venue]) -> None:
    end = settled(running[1], wire.market)
    start = end - min(wire.page, 700) * MINUTE
    wire.market.hidden = frozenset(range(start + 20 * MINUTE, start + 90 * MINUTE, MINUTE)) | {end - MINUTE, start}
    assert_rows(wire, await fetch(running[1], wire, start, end), start, end)


async def test_listings_and_the_first_and_last_bar(wire: Wire, running: tuple[ScriptedServer, Venue]) -> None:
    _, venue = running
    listed = {each.base: each for each in await venue.listings()}
    assert {"BTC", "ETH"} <= set(listed)
    assert (listed["BTC"].venue_symbol, listed["BTC"].status) == (wire.symbol("BTC"), ListingStatus.TRADING)
    if "OLD" in listed:
        assert listed["OLD"].status is not ListingStatus.TRADING
    pair = wire.market.pairs["BTC"]
    first = await venue.listed_since(wire.symbol("BTC"))
    assert first == from_unix_ms(pair.listed)
    last = await venue.last_bar(wire.symbol("BTC"))
    assert last is not None
    assert wire.market.now - 3 * MINUTE <= unix_ms(last) <= wire.market.now
    if "OLD" in listed:
        gone = await venue.last_bar(wire.symbol("OLD"))
        newest = wire.market.bars(wire.market.pairs["OLD"], MINUTE, flat=False)[-1].time
        assert gone == from_unix_ms(newest)


async def test_nothing_before_the_listing(wire: Wire, running: tuple[ScriptedServer, Venue]) -> None:
    listed = wire.market.pairs["BTC"].listed
    start, end = listed - 200 * MINUTE, listed + 50 * MINUTE
    assert_rows(wire, await fetch(running[1], wire, start, end), start, end)


async def test_a_renamed_pair_is_listed_under_its_new_name(wire: Wire, running: tuple[ScriptedServer, Venue]) -> None:
    _, venue = running
    before = {each.venue_symbol for each in await venue.listings()}
    pair = wire.market.pairs.pop("ETH")
    wire.market.pairs["NEW"] = replace(pair, base="NEW", symbol=wire.symbol("NEW"))
    end = settled(venue, wire.market)
    async with serving(wire) as (_, again):
        after = {each.venue_symbol for each in await again.listings()}
        assert before - after == {wire.symbol("ETH")}
        assert after - before == {wire.symbol("NEW")}
        assert_rows(wire, await fetch(again, wire, end - 9 * MINUTE, end, "NEW"), end - 9 * MINUTE, end, "NEW")


async def test_an_unknown_symbol_fails_alone_and_at_once(wire: Wire, running: tuple[ScriptedServer, Venue]) -> None:
    _, venue = running
    end = settled(venue, wire.market)
    span = (from_unix_ms(end - 30 * MINUTE), from_unix_ms(end))
    plans = [FetchPlan(base, wire.symbol(base), Timeframe.M1, [span]) for base in ("ETH", "NONE", "BTC")]
    errors: dict[str, VenueError] = {}
    found: dict[str, list[BarsAnswer]] = {}
    async for answer in venue.bars_many(
        plans, archive=False, on_error=lambda plan, error: errors.update({plan.instrument: error})
    ):
        found.setdefault(answer.instrument, []).append(answer)
    for base in ("ETH", "BTC"):
        assert_rows(wire, found[base], end - 30 * MINUTE, end, base)
    if wire.name.startswith("massive"):  # which has no bars of it, and says no more
        assert not found["NONE"][0].bars.height
    else:
        assert isinstance(errors["NONE"], UnknownSymbol)


@pytest.mark.parametrize("code", [429, 418])
async def test_a_pause_that_the_venue_demands_is_kept(
    wire: Wire, running: tuple[ScriptedServer, Venue], code: int
) -> None:
    server, venue = running
    end = settled(venue, wire.market)
    server.fail("bars", refused(code, str(PAUSE)), refused(code, str(PAUSE)))
    assert_rows(wire, await fetch(venue, wire, end - 20 * MINUTE, end), end - 20 * MINUTE, end)
    times = server.asked("bars")
    assert all(later - earlier >= 0.9 * PAUSE for earlier, later in pairwise(times[:3]))


async def test_a_long_ban_is_told_and_not_waited_for(wire: Wire) -> None:
    budget = Unlimited()
    async with ScriptedServer(wire) as server:
        venue = wire.client(server.url, budget)
        end = settled(venue, wire.market)
        server.fail("bars", refused(418, "7200"))
        errors: list[tuple[FetchPlan, VenueError]] = []
        assert not await fetch(venue, wire, end - 5 * MINUTE, end, errors=errors)
        assert [getattr(error, "retry_after", None) for _, error in errors] == [7200]
        assert budget.paused > 7000, "nothing else is asked meanwhile"
        await venue.close()


@pytest.mark.parametrize("fault", [truncated, body(b'{"half": ['), body(b"<html>"), status(502), status(503)])
async def test_an_answer_that_is_cut_or_fails_is_asked_for_again(
    wire: Wire, running: tuple[ScriptedServer, Venue], fault: object
) -> None:
    server, venue = running
    end = settled(venue, wire.market)
    server.fail("bars", fault)  # type: ignore[arg-type]
    assert_rows(wire, await fetch(venue, wire, end - 20 * MINUTE, end), end - 20 * MINUTE, end)


async def test_a_body_without_end_is_left_and_costs_its_page_alone(
    wire: Wire, running: tuple[ScriptedServer, Venue]
) -> None:
    server, venue = running
    end = settled(venue, wire.market)
    server.fail("bars", *[endless] * 4)
    errors: list[tuple[FetchPlan, VenueError]] = []
    answers = await fetch(venue, wire, end - 20 * MINUTE, end, errors=errors)
    assert not answers
    assert "more than the" in str(errors[0][1])
    assert len(server.asked("bars")) == 4
    assert_rows(wire, await fetch(venue, wire, end - 20 * MINUTE, end), end - 20 * MINUTE, end)


async def test_a_venue_that_is_down_is_a_status_and_not_an_error(
    wire: Wire, running: tuple[ScriptedServer, Venue]
) -> None:
    server, venue = running
    assert (await venue.status()).reachable
    await server.__aexit__()
    told = await venue.status()
    assert not told.reachable
    assert told.detail


async def test_trades_are_all_that_there_were_or_an_error(wire: Wire, running: tuple[ScriptedServer, Venue]) -> None:
    """Of the last hour every venue gives them; of an earlier one some give a part that they name, or none."""
    _, venue = running
    traits = traits_of(wire.name)
    for back in (40, 30 * 60):
        end = settled(venue, wire.market) - (back - 25) * MINUTE
        start = end - 25 * MINUTE
        may_refuse = back > 60 and not traits.contiguous_trade_ids
        with suppress(VenueError) if may_refuse else nullcontext():
            found = await venue.trades("BTC", wire.symbol("BTC"), from_unix_ms(start), from_unix_ms(end))
            assert (unix_ms(found.start), unix_ms(found.end)) == (start, end) or may_refuse
            assert_trades(wire, found, unix_ms(found.start), unix_ms(found.end))


def assert_trades(wire: Wire, found: TradesAnswer, start: int, end: int) -> None:
    """The answer has all trades of BTC in ``[start, end)`` (Unix ms)."""
    inside = [deal for deal in wire.market.pairs["BTC"].trades if start * 1000 <= deal.us < end * 1000]
    times = [deal.us // 1000 // wire.trade_step * wire.trade_step for deal in inside]
    assert found.trades["time"].dt.epoch("ms").to_list() == times
    assert sorted(found.trades["price"].to_list()) == sorted(float(deal.price) for deal in inside)
    if traits_of(wire.name).contiguous_trade_ids:
        assert found.trades["trade_id"].to_list() == [deal.number for deal in inside]
        assert (found.id_before, found.id_after) == (inside[0].number - 1, inside[-1].number + 1)
