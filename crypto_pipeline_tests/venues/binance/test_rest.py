"""Binance over REST: what is asked, what is believed, what is repeated."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import polars as pl
import pytest

from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import (
    BarsAnswer,
    BinanceSpot,
    FetchPlan,
    ListingStatus,
    MalformedAnswer,
    MemoryBudget,
    UnknownSymbol,
    VenueError,
    VenueUnavailable,
)
from crypto_pipeline.venues.client.http import RequestPolicy
from crypto_pipeline_tests.builders.scripted_binance import (
    ScriptedVenue,
    body,
    dropped,
    hanging,
    kline,
    ms,
    status,
    truncated,
)

DAY = datetime(2026, 1, 5, tzinfo=UTC)
KLINES = "/api/v3/klines"
Make = Callable[..., BinanceSpot]


def plan(start: datetime, end: datetime, timeframe: Timeframe = Timeframe.M1, name: str = "BTC") -> FetchPlan:
    return FetchPlan(f"{name}-USDT", f"{name}USDT", timeframe, [(start, end)])


async def fetch(venue: BinanceSpot, *plans: FetchPlan, archive: bool = False) -> list[BarsAnswer]:
    return [answer async for answer in venue.bars_many(list(plans), archive=archive)]


def covers(answers: list[BarsAnswer], start: datetime, end: datetime) -> None:
    assert answers[0].start == start
    assert answers[-1].end == end
    assert all(one.end == two.start for one, two in itertools.pairwise(answers))
    for answer in answers:
        assert dict(answer.bars.schema) == BAR_SCHEMA
        times = answer.bars["open_time"]
        assert times.is_sorted()
        assert times.is_empty() or (times[0] >= answer.start and times[-1] < answer.end)


async def test_pages_a_span_exactly(server: ScriptedVenue, make: Make) -> None:
    end = DAY + timedelta(minutes=3500)
    answers = await fetch(make(), plan(DAY, end))
    covers(answers, DAY, end)
    bars = pl.concat(answer.bars for answer in answers)
    assert bars["open_time"].to_list() == list(Timeframe.M1.open_times(DAY, end))
    row = kline(ms(DAY))
    first = bars.row(0, named=True)
    assert [first[name] for name in ("open", "high", "low", "close", "volume")] == [float(x) for x in row[1:6]]
    assert (first["quote_volume"], first["taker_buy_volume"], first["trade_count"]) == (250.1, 1.2, 7)
    assert (first["instrument"], first["source"], first["complete"]) == ("BTC-USDT", "venue_historical", True)
    assert abs(first["revision"] - datetime.now(UTC)) < timedelta(seconds=30)
    assert server.count(KLINES) == 4


async def test_forming_and_unsettled_bars_are_left_out(server: ScriptedVenue, make: Make) -> None:
    server.now = lambda: ms(DAY) + 10 * 60_000 + 2_000  # the tenth minute ended 2 s ago: late prints may still come
    answers = await fetch(make(), plan(DAY, DAY + timedelta(hours=2)))
    assert (answers[-1].end, answers[-1].bars.height) == (DAY + timedelta(minutes=9), 9)
    server.now = lambda: ms(DAY) + 10 * 60_000 + 3_000
    assert (await fetch(make(), plan(DAY, DAY + timedelta(hours=2))))[-1].bars.height == 10
    assert await fetch(make(), plan(DAY + timedelta(hours=5), DAY + timedelta(hours=6))) == []


async def test_holes_and_short_pages_do_not_end_the_paging(server: ScriptedVenue, make: Make) -> None:
    end = DAY + timedelta(minutes=4000)
    hole = range(ms(DAY) + 700 * 60_000, ms(DAY) + 2300 * 60_000, 60_000)  # covers a whole window
    server.holes = set(hole)
    server.page_cap = 333  # every page is cut short
    answers = await fetch(make(), plan(DAY, end))
    covers(answers, DAY, end)
    bars = pl.concat(answer.bars for answer in answers)
    assert bars.height == 4000 - 1600
    assert bars["open_time"].n_unique() == bars.height
    assert any(answer.bars.is_empty() for answer in answers)


async def test_spans_are_put_in_order_on_the_grid_without_overlap(make: Make) -> None:
    week = datetime(2026, 1, 7, 3, tzinfo=UTC)
    weekly = FetchPlan("A-B", "AB", Timeframe.W1, [(week, week + timedelta(days=21))])
    answers = await fetch(make(), weekly)
    assert [moment.isoweekday() for moment in answers[0].bars["open_time"]] == [1, 1, 1]
    hour = timedelta(hours=1)
    twice = FetchPlan("A-B", "AB", Timeframe.M5, [(DAY + hour, DAY + 3 * hour), (DAY, DAY + 2 * hour)])
    answers = await fetch(make(), twice)
    covers(answers, DAY, DAY + 3 * hour)


@pytest.mark.parametrize(
    "fault",
    [
        truncated,
        dropped,
        hanging,
        status(500),
        status(503, "<html>busy</html>"),
        status(403),
        status(400, '{"code":-1008,"msg":"overloaded"}'),
        body('[[1634943780000,"1","2"'),
        body("<html>"),
        body(b""),
        body("[[1,2,3]]"),
        body('{"code":-1,"msg":"x"}'),
        body(json.dumps([[*kline(ms(DAY)), "13th"]])),
        body(json.dumps([kline(ms(DAY) - 60_000)])),
        body(json.dumps([kline(ms(DAY) + 60_000), kline(ms(DAY))])),
        body(json.dumps([[ms(DAY), "NaN", *kline(ms(DAY))[2:]]])),
    ],
)
async def test_passing_faults_are_repeated(server: ScriptedVenue, make: Make, fault: object) -> None:
    server.script(KLINES, fault, fault)  # type: ignore[arg-type]
    venue = make(timeout=0.5) if fault is hanging else make()
    answers = await fetch(venue, plan(DAY, DAY + timedelta(hours=1)))
    assert answers[0].bars.height == 60
    assert server.count(KLINES) == 3


@pytest.mark.parametrize(("code", "kind"), [(-1121, UnknownSymbol), (-1120, VenueError), (-1100, VenueError)])
async def test_permanent_errors_are_not_repeated(
    server: ScriptedVenue, make: Make, code: int, kind: type[VenueError]
) -> None:
    server.always(KLINES, status(400, json.dumps({"code": code, "msg": "no"})))
    venue = make()
    with pytest.raises(kind) as caught:
        await fetch(venue, plan(DAY, DAY + timedelta(hours=1)))
    assert caught.value.permanent
    assert str(code) in str(caught.value)
    assert server.count(KLINES) == 1


async def test_malformed_for_ever_is_said_so(server: ScriptedVenue, make: Make) -> None:
    server.always(KLINES, body("[[]]"))
    with pytest.raises(MalformedAnswer):
        await fetch(make(), plan(DAY, DAY + timedelta(hours=1)))
    assert server.count(KLINES) == 4


@pytest.mark.parametrize("code", [429, 418])
async def test_told_to_wait_everyone_waits(server: ScriptedVenue, make: Make, code: int) -> None:
    budget = MemoryBudget()
    venue, other = make(budget), make(budget)  # two clients that share the account, as processes do
    server.script(KLINES, status(code, Retry_After="1", X_MBX_USED_WEIGHT_1M="6000"))
    first = asyncio.create_task(fetch(venue, plan(DAY, DAY + timedelta(hours=1))))
    while not budget.paused:
        await asyncio.sleep(0.005)
    begun = time.monotonic()
    await other.server_time()
    assert time.monotonic() - begun > 0.8
    assert (await first)[0].bars.height == 60


async def test_a_long_ban_is_told_not_waited_for(server: ScriptedVenue, make: Make) -> None:
    server.script(KLINES, status(418, '{"code":-1003,"msg":"IP banned"}', Retry_After="86400"))
    with pytest.raises(VenueUnavailable) as caught:
        await fetch(make(), plan(DAY, DAY + timedelta(hours=1)))
    assert caught.value.retry_after == 86400


@pytest.mark.parametrize("apart", [0, -400 * 86_400, 45 * 86_400])
async def test_a_ban_that_only_the_text_dates_is_as_long_as_by_the_venues_own_clock(
    server: ScriptedVenue, make: Make, apart: int
) -> None:
    now = time.time() + apart
    text = f"Way too much request weight used; IP banned until {int(now * 1000) + 7_200_000}."
    body = json.dumps({"code": -1003, "msg": text})
    server.script(KLINES, status(418, body, Date=format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)))
    with pytest.raises(VenueUnavailable) as caught:
        await fetch(make(), plan(DAY, DAY + timedelta(hours=1)))
    assert caught.value.retry_after == pytest.approx(7200, abs=10)


async def test_leaving_early_leaves_nothing_running(server: ScriptedVenue, make: Make) -> None:
    before = asyncio.all_tasks()
    async with aclosing(make().bars(plan(DAY, DAY + timedelta(days=20)), archive=False)) as answers:
        assert (await anext(answers)).bars.height == 1000
    ours = [task for task in asyncio.all_tasks() - before if "BarRequests" in repr(task)]
    assert ours == []


async def test_the_breaker_opens_on_coroutines_fails_fast_and_recovers(server: ScriptedVenue, make: Make) -> None:
    venue = make(attempts=1)
    server.always("/api/v3/time", status(500))
    for _ in range(3):
        with pytest.raises(VenueUnavailable, match="HTTP 500"):
            await venue.server_time()
    asked = server.count("/api/v3/time")
    for _ in range(5):
        with pytest.raises(VenueUnavailable, match="failed repeatedly"):
            await venue.server_time()
    assert server.count("/api/v3/time") == asked, "an open breaker sends nothing"
    assert await venue.http.breaker.is_open()
    assert not (await venue.status()).reachable  # asks past the breaker
    await asyncio.sleep(0.35)
    with pytest.raises(VenueUnavailable, match="HTTP 500"):
        await venue.server_time()  # half open: one try, and shut again
    with pytest.raises(VenueUnavailable, match="failed repeatedly"):
        await venue.server_time()
    server.always("/api/v3/time", None)
    await asyncio.sleep(0.35)
    await venue.server_time()
    assert not await venue.http.breaker.is_open()


async def test_cancelled_calls_do_not_close_the_breaker(server: ScriptedVenue, make: Make) -> None:
    venue = make(attempts=1, timeout=30)
    for _ in range(2):
        assert not await venue.http.breaker.is_open()
        server.script("/api/v3/time", status(500), hanging)
        with pytest.raises(VenueUnavailable):
            await venue.server_time()
        asked = len(server.requests)
        sibling = asyncio.create_task(venue.server_time())
        while len(server.requests) == asked:
            await asyncio.sleep(0.005)
        sibling.cancel()
        await asyncio.gather(sibling, return_exceptions=True)
    server.script("/api/v3/time", status(500))
    with pytest.raises(VenueUnavailable):
        await venue.server_time()
    assert await venue.http.breaker.is_open()


async def test_one_bad_plan_does_not_stop_the_others(server: ScriptedVenue, make: Make) -> None:
    async def picky(request: object) -> object:
        if request.query["symbol"] == "XUSDT":  # type: ignore[attr-defined]
            return await status(400, '{"code":-1121,"msg":"Invalid symbol."}')(request)  # type: ignore[arg-type]
        return server.true_answer(request)  # type: ignore[arg-type]

    server.always(KLINES, picky)  # type: ignore[arg-type]
    end = DAY + timedelta(days=2)
    failed: list[tuple[str, VenueError]] = []
    plans = [plan(DAY, end, name=name) for name in ("A", "X", "B")]
    answers = [
        answer
        async for answer in make().bars_many(
            plans, archive=False, on_error=lambda which, error: failed.append((which.instrument, error))
        )
    ]
    assert [name for name, _ in failed] == ["X-USDT"]
    assert isinstance(failed[0][1], UnknownSymbol)
    assert sum(answer.bars.height for answer in answers) == 2 * 2880
    with pytest.raises(UnknownSymbol):
        await fetch(make(), *plans)


async def test_a_venue_that_is_down_is_reported_for_every_plan(server: ScriptedVenue, make: Make) -> None:
    server.always("/api/v3/time", status(502))
    failed: list[str] = []
    plans = [plan(DAY, DAY + timedelta(hours=1), name=name) for name in ("A", "B")]
    found = [a async for a in make().bars_many(plans, on_error=lambda which, _: failed.append(which.instrument))]
    assert (found, failed) == ([], ["A-USDT", "B-USDT"])


async def test_read_ahead_is_bounded_and_requests_are_concurrent(server: ScriptedVenue, make: Make) -> None:
    async def unhurried(request: object) -> object:
        await asyncio.sleep(0.01)
        return server.true_answer(request)  # type: ignore[arg-type]

    server.always(KLINES, unhurried)  # type: ignore[arg-type]
    venue = make()
    plans = [plan(DAY, DAY + timedelta(days=10), name=f"N{number}") for number in range(12)]
    answers = venue.bars_many(plans, archive=False)
    await anext(answers)
    seen = -1
    while server.count(KLINES) != seen:  # the consumer stands still until the read-ahead does, too
        seen = server.count(KLINES)
        await asyncio.sleep(0.1)
    assert seen <= 4 * 4 + 1
    assert 2 <= server.most_in_flight <= 4
    assert sum([answer.bars.height async for answer in answers]) > 0
    assert server.count(KLINES) == 12 * 15


async def test_limits_are_read_from_the_venue(server: ScriptedVenue, make: Make) -> None:
    server.limit = 1200
    budget = MemoryBudget()
    await fetch(make(budget), plan(DAY, DAY + timedelta(hours=1)))
    assert budget.allowed == 1080
    assert budget.used >= 23  # time 1, exchangeInfo 20, klines 2


async def test_facts(server: ScriptedVenue, make: Make) -> None:
    venue = make()
    assert await venue.listed_since("BTCUSDT") == datetime(2020, 1, 1, tzinfo=UTC)
    server.script(KLINES, body("[]"))
    assert await venue.listed_since("NEWUSDT") is None
    assert abs(await venue.server_time() - datetime.now(UTC)) < timedelta(seconds=5)
    assert (await venue.status()).reachable
    symbols = [
        {"symbol": f"{name}USDT", "status": name, "baseAsset": name, "quoteAsset": "USDT", "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"}, {"filterType": "LOT_SIZE", "stepSize": "0.1"},
        ], "unheard": {"of": 1}}
        for name in ("TRADING", "HALT", "BREAK", "CANCEL_ONLY", "GONE")
    ]  # fmt: skip
    server.script("/api/v3/exchangeInfo", body(json.dumps({"serverTime": 1, "rateLimits": [], "symbols": symbols})))
    listings = await venue.listings()
    paused = ListingStatus.PAUSED
    assert [one.status for one in listings] == [ListingStatus.TRADING, paused, paused, paused, ListingStatus.DELISTED]
    assert str(listings[0].tick_size) == "0.01000000"
    assert str(listings[0].lot_size) == "0.1"


async def test_unreachable_venue_is_an_answer_of_status() -> None:
    venue = BinanceSpot("http://127.0.0.1:1", "http://127.0.0.1:1", policy=RequestPolicy(attempts=1))
    found = await venue.status()
    assert not found.reachable
    assert "127.0.0.1:1" in found.detail
    await venue.close()


def test_usable_from_one_event_loop_after_another() -> None:
    venue = BinanceSpot("http://127.0.0.1:1", "http://127.0.0.1:1", policy=RequestPolicy(attempts=1))

    async def both() -> None:
        states = await asyncio.gather(*(venue.status() for _ in range(20)))
        assert not any(state.reachable for state in states)

    asyncio.run(both())
    asyncio.run(both())
    asyncio.run(venue.close())
