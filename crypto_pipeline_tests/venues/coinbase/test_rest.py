"""Coinbase Exchange over REST, against a server with its manners: order, limits, ids, sides."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
import pytest_asyncio

from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import Settings
from crypto_pipeline.venues import (
    BarsAnswer,
    BudgetLimit,
    CoinbaseExchange,
    FetchPlan,
    ListingStatus,
    MemoryBudget,
    UnknownSymbol,
    VenueError,
    make_venue,
)
from crypto_pipeline.venues.coinbase import parse
from crypto_pipeline.venues.trade_rows import frame_of_trades
from crypto_pipeline_tests.builders.scripted_binance import body, status, truncated
from crypto_pipeline_tests.builders.scripted_others import (
    NOW,
    NOW_MS,
    Deal,
    ScriptedCoinbase,
    assert_all_trades,
    deals,
    minute_bars,
)
from crypto_pipeline_tests.venues.conftest import HASTY

TRADES = "/products/BTC-USD/trades"
CANDLES = "/products/BTC-USD/candles"


class Freely(MemoryBudget):
    """A budget that lets tests run fast."""

    async def limit(self, limit: BudgetLimit) -> None:
        await super().limit(BudgetLimit(100_000, limit.window))


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedCoinbase]:
    async with ScriptedCoinbase(deals(9000)) as running:
        yield running


@pytest_asyncio.fixture
async def venue(server: ScriptedCoinbase) -> AsyncIterator[CoinbaseExchange]:
    made = CoinbaseExchange(server.url, Freely(), policy=HASTY)
    yield made
    await made.close()


async def fetch(venue: CoinbaseExchange, start: datetime, end: datetime, timeframe: Timeframe) -> list[BarsAnswer]:
    plan = FetchPlan("BTC-USD", "BTC-USD", timeframe, [(start, end)])
    return [answer async for answer in venue.bars(plan)]


@pytest.mark.parametrize(("timeframe", "hours"), [(Timeframe.M1, 17), (Timeframe.M15, 90)])
async def test_candles_are_put_in_order_and_absent_minutes_stay_absent(
    server: ScriptedCoinbase, venue: CoinbaseExchange, timeframe: Timeframe, hours: int
) -> None:
    start, end = NOW - timedelta(hours=hours, seconds=30), NOW + timedelta(hours=1)
    server.script(CANDLES, truncated, status(503))
    answers = await fetch(venue, start, end, timeframe)
    assert answers[0].start == timeframe.ceil(start)
    assert answers[-1].end == timeframe.floor(NOW - timedelta(seconds=3)), "nothing that is not settled"
    bars = pl.concat(answer.bars for answer in answers)
    assert dict(bars.schema) == BAR_SCHEMA
    low, high = (round(moment.timestamp() * 1000) for moment in (answers[0].start, answers[-1].end))
    truth = {at: bar for at, bar in minute_bars(server.deals, timeframe.milliseconds).items() if low <= at < high}
    assert len(truth) < timeframe.count(answers[0].start, answers[-1].end) or timeframe is not Timeframe.M1
    assert bars["open_time"].dt.epoch("ms").to_list() == sorted(truth)
    assert bars.select("open", "high", "low", "close", "volume").rows() == [
        tuple(truth[at][:5]) for at in sorted(truth)
    ]
    assert bars["trade_count"].null_count() == bars["quote_volume"].null_count() == bars.height
    assert abs(bars["revision"].max() - NOW) < timedelta(seconds=20)  # type: ignore[operator]


async def test_a_timeframe_that_it_lacks_is_an_error_that_says_so(venue: CoinbaseExchange) -> None:
    with pytest.raises(VenueError, match="no bars of 4h: it has 1m, 5m, 15m, 1h, 1d") as caught:
        await fetch(venue, NOW - timedelta(days=1), NOW, Timeframe.H4)
    assert caught.value.permanent


@pytest.mark.parametrize(("back", "width"), [(2, 1), (40, 3), (90, 10), (300, 2), (0, 1)])
async def test_trades_are_found_by_id(server: ScriptedCoinbase, venue: CoinbaseExchange, back: int, width: int) -> None:
    end = datetime(2026, 1, 5, 12, tzinfo=UTC) - timedelta(hours=back) + timedelta(minutes=1)
    start = end - timedelta(hours=width)
    found = await venue.trades("BTC-USD", "BTC-USD", start, end)
    assert_all_trades(found, server.deals, start, end)
    assert server.count(TRADES) < 14, "searched, not walked"


async def test_trades_in_bursts_and_long_silences(venue: CoinbaseExchange, server: ScriptedCoinbase) -> None:
    # Ids say little about time here: 5,000 in one second, a month of nothing, 5,000 more.
    one, two = NOW_MS * 1000 - 40 * 86_400_000_000, NOW_MS * 1000 - 5_000_000
    server.deals = [Deal(n, (one if n <= 5000 else two) + n * 100, "1.5", "1.0", True) for n in range(1, 10_001)]
    start, end = NOW - timedelta(days=20), NOW - timedelta(days=1)
    found = await venue.trades("BTC-USD", "BTC-USD", start, end)
    assert (found.trades.height, found.id_before, found.id_after) == (0, 5000, 5001)
    everything = await venue.trades("BTC-USD", "BTC-USD", NOW - timedelta(days=50), NOW)
    assert everything.trades["trade_id"].to_list() == list(range(1, 10_001))
    assert (everything.id_before, everything.id_after) == (None, None)
    server.deals = []
    nothing = await venue.trades("BTC-USD", "BTC-USD", start, end)
    assert (nothing.trades.height, nothing.id_before, nothing.id_after) == (0, None, None)


async def test_products_are_listings(venue: CoinbaseExchange, server: ScriptedCoinbase) -> None:
    listings = {each.venue_symbol: each for each in await venue.listings()}
    assert {name: each.status for name, each in listings.items()} == {
        "BTC-USD": ListingStatus.TRADING,
        "OLD-USD": ListingStatus.DELISTED,
        "HALT-EUR": ListingStatus.PAUSED,
    }
    assert (listings["BTC-USD"].base, listings["BTC-USD"].quote) == ("BTC", "USD")
    assert (listings["BTC-USD"].tick_size, listings["BTC-USD"].lot_size) == (Decimal("0.01"), Decimal("0.00000001"))
    first, newest = (datetime.fromtimestamp(deal.us / 1e6, UTC) for deal in (server.deals[0], server.deals[-1]))
    assert await venue.listed_since("BTC-USD") == Timeframe.M1.floor(first)
    assert await venue.last_bar("BTC-USD") == Timeframe.M1.floor(newest)


async def test_errors(venue: CoinbaseExchange, server: ScriptedCoinbase) -> None:
    with pytest.raises(UnknownSymbol, match="NotFound"):
        await venue.trades("NO-USD", "NO-USD", NOW - timedelta(hours=1), NOW)
    assert (await venue.status()).reachable
    server.script("/time", status(503))
    assert not (await venue.status()).reachable
    server.script(TRADES, status(429, '{"message":"Public rate limit exceeded"}', Retry_After="0"), body("<html>"))
    assert (await venue.last_bar("BTC-USD")) is not None
    assert server.count(TRADES) == 3


async def test_it_keeps_to_ten_requests_a_second(server: ScriptedCoinbase) -> None:
    venue = CoinbaseExchange(server.url, policy=HASTY)
    begun = time.monotonic()
    for _ in range(25):
        await venue.last_bar("BTC-USD")
    assert time.monotonic() - begun > 1.0
    await venue.close()


async def test_made_from_settings(server: ScriptedCoinbase) -> None:
    venue = make_venue(Settings(venue="coinbase", coinbase_url=server.url))
    assert (venue.name, venue.traits.states_empty_bars) == ("coinbase", False)
    assert abs(await venue.server_time() - NOW) < timedelta(seconds=1)
    await venue.close()


@pytest.mark.realdata
def test_recorded_rows(recorded_data: Path) -> None:
    sample = json.loads((recorded_data / "rest_ws_samples/contract_pairs.json").read_text())["coinbase_exchange"]
    raw, normal = (sample["fetchTrades"][name] for name in ("raw", "normalised"))
    frame = frame_of_trades(parse.parse_trades(json.dumps(raw).encode()).rows, "BTC-USDT")
    (trade,) = frame.with_columns(pl.col("time").dt.epoch("ms")).iter_rows(named=True)
    assert (str(trade["trade_id"]), trade["time"], trade["taker_side"], trade["price"], trade["quantity"]) == (
        normal[0]["id"], normal[0]["timestamp_ms"], normal[0]["side"], normal[0]["price"], normal[0]["amount"]
    )  # fmt: skip
    raw, normal = (sample["fetchOHLCV"][name] for name in ("raw", "normalised"))
    start = normal[0][0]
    plan = FetchPlan("BTC-USDT", "BTC-USDT", Timeframe.H1)
    bars, _ = parse.frame_of_candles(parse.parse_candles(json.dumps(raw).encode())[0], plan, start, start + 1, NOW)
    values = bars.select(pl.col("open_time").dt.epoch("ms"), "open", "high", "low", "close", "volume").rows()
    assert values == [tuple(normal[0])]
