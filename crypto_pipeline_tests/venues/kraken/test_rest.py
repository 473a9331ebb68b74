"""Kraken over REST: errors in good answers, names, the newest 720 bars, older minutes from trades."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import pytest_asyncio

from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import Settings
from crypto_pipeline.venues import (
    BarsAnswer,
    BudgetLimit,
    FetchPlan,
    KrakenSpot,
    ListingStatus,
    MalformedAnswer,
    MemoryBudget,
    UnknownSymbol,
    VenueError,
    VenueUnavailable,
    make_venue,
)
from crypto_pipeline.venues.kraken import parse
from crypto_pipeline.venues.kraken.names import rest_name, stream_name
from crypto_pipeline_tests.builders.scripted_binance import body, status, truncated
from crypto_pipeline_tests.builders.scripted_others import (
    NOW,
    NOW_MS,
    ScriptedKraken,
    assert_all_trades,
    deals,
    minute_bars,
)
from crypto_pipeline_tests.venues.conftest import HASTY

TRADES, OHLC = "/0/public/Trades", "/0/public/OHLC"
MINUTE = timedelta(minutes=1)


class Freely(MemoryBudget):
    async def limit(self, limit: BudgetLimit) -> None:
        await super().limit(BudgetLimit(100_000, limit.window))


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedKraken]:
    async with ScriptedKraken(deals(3000, step_ms=60_000)) as running:
        yield running


@pytest_asyncio.fixture
async def venue(server: ScriptedKraken) -> AsyncIterator[KrakenSpot]:
    made = KrakenSpot(server.url, Freely(), policy=HASTY)
    made.pair_pause = 0.0
    yield made
    await made.close()


async def fetch(venue: KrakenSpot, start: datetime, end: datetime, timeframe: Timeframe) -> list[BarsAnswer]:
    plan = FetchPlan("BTC-USD", "BTC/USD", timeframe, [(start, end)])
    return [answer async for answer in venue.bars(plan)]


def truth(server: ScriptedKraken, start: datetime, end: datetime, width: int = 60_000) -> list[tuple[Any, ...]]:
    """Bars of the span, flat where nothing traded."""
    bars, rows, close = minute_bars(server.deals, width), [], 0.0
    for at in range(min(bars), round(end.timestamp() * 1000), width):
        bar = bars.get(at) or [close] * 4 + [0.0, 0]
        close = bar[3]
        if at >= round(start.timestamp() * 1000):
            rows.append((at, *bar))
    return rows


def values(bars: pl.DataFrame) -> list[tuple[Any, ...]]:
    columns = ("open", "high", "low", "close", pl.col("volume").round(8), "trade_count")
    return bars.select(pl.col("open_time").dt.epoch("ms"), *columns).rows()


async def test_minutes_it_keeps_and_minutes_from_trades_make_one_series(
    server: ScriptedKraken, venue: KrakenSpot
) -> None:
    start, end = NOW.replace(second=0) - timedelta(hours=20), NOW + timedelta(minutes=5)
    server.script(OHLC, body('{"error":["EGeneral:Too many requests"]}'), truncated)
    server.script(TRADES, body('{"error":["EService:Busy"],"result":{}}'))
    answers = await fetch(venue, start, end, Timeframe.M1)
    settled = NOW.replace(second=0)
    assert [answers[0].start, answers[-1].end] == [start, settled]
    assert all(one.end == two.start for one, two in itertools.pairwise(answers))
    bars = pl.concat(answer.bars for answer in answers)
    assert dict(bars.schema) == BAR_SCHEMA
    assert bars["complete"].all()
    assert values(bars) == truth(server, start, settled)
    kept = bars.filter(pl.col("source") == "venue_historical")
    assert 700 <= kept.height <= 720, "what it states itself is taken as it is"
    assert set(bars["source"]) == {"venue_historical", "historical_aggregated"}


async def test_wider_bars_beyond_its_reach_are_refused_after_those_it_has(
    server: ScriptedKraken, venue: KrakenSpot
) -> None:
    recent = await fetch(venue, NOW - timedelta(days=2), NOW, Timeframe.M15)
    start, end = recent[0].start, recent[-1].end
    assert values(pl.concat(answer.bars for answer in recent)) == truth(server, start, end, 900_000)
    plan = FetchPlan("BTC-USD", "BTC/USD", Timeframe.M5, [(NOW - timedelta(days=9), NOW)])
    got: list[BarsAnswer] = []
    errors: list[VenueError] = []
    async for answer in venue.bars_many([plan], on_error=lambda _, error: errors.append(error)):
        got.append(answer)
    assert values(got[0].bars) == truth(server, got[0].start, got[0].end, 300_000)
    assert "only the newest 720 bars of 5m" in str(errors[0])
    with pytest.raises(VenueError, match="no bars of 1w"):
        await fetch(venue, NOW - timedelta(days=20), NOW, Timeframe.W1)


@pytest.mark.parametrize(("back", "width"), [(1, 1), (6, 5), (20, 12), (0, 0)])
async def test_trades_between_their_neighbours(
    server: ScriptedKraken, venue: KrakenSpot, back: int, width: int
) -> None:
    end = datetime(2026, 1, 5, 12, tzinfo=UTC) - timedelta(hours=back) + MINUTE
    start = end - timedelta(hours=width) - MINUTE
    found = await venue.trades("BTC-USD", "BTC/USD", start, end)
    assert_all_trades(found, server.deals, start, end)


async def test_missing_ids_leave_their_minutes_out(server: ScriptedKraken, venue: KrakenSpot) -> None:
    start = NOW.replace(second=0) - timedelta(hours=19)
    end = start + timedelta(hours=2)
    low, high = (round(moment.timestamp() * 1e6) for moment in (start + 30 * MINUTE, start + 60 * MINUTE))
    whole = truth(server, start, end)
    server.deals = [deal for deal in server.deals if not low <= deal.us < high]
    bars = pl.concat([answer.bars for answer in await fetch(venue, start, end, Timeframe.M1)])
    stated = dict(zip(bars["open_time"].dt.epoch("ms"), bars["complete"], strict=True))
    inside = [row for row in whole if low <= row[0] * 1000 < high]
    assert not any(stated.get(row[0], False) for row in inside), "nothing there is called silent or whole"
    sure = set(values(bars.filter("complete")))
    assert sure < set(whole)
    assert len(sure) > 80


async def test_names(venue: KrakenSpot, server: ScriptedKraken) -> None:
    listings = {each.venue_symbol: each for each in await venue.listings()}
    assert set(listings) == {"BTC/USD", "DOGE/EUR"}
    bitcoin, doge = listings["BTC/USD"], listings["DOGE/EUR"]
    assert (bitcoin.base, bitcoin.quote, bitcoin.status) == ("BTC", "USD", ListingStatus.TRADING)
    assert (bitcoin.tick_size, bitcoin.lot_size) == (Decimal("0.1"), Decimal("1e-8"))
    assert (doge.base, doge.status, doge.tick_size) == ("DOGE", ListingStatus.PAUSED, Decimal("1e-7"))
    assert [rest_name(name) for name in ("BTC/USD", "XBT/USD", "DOGE/EUR", "XXBTZUSD")] == [
        "XBTUSD", "XBTUSD", "XDGEUR", "XXBTZUSD",
    ]  # fmt: skip
    assert [stream_name(name) for name in ("BTC/USD", "XBT/USD", "ADA/XBT")] == ["BTC/USD", "BTC/USD", "ADA/BTC"]
    with pytest.raises(ValueError, match="BASE/QUOTE"):
        stream_name("XBTUSD")
    assert await venue.listed_since("BTC/USD") == Timeframe.M1.floor(
        datetime.fromtimestamp(server.deals[0].us / 1e6, UTC)
    )
    assert await venue.last_bar("BTC/USD") == NOW.replace(second=0) - MINUTE


async def test_errors_come_with_good_answers(venue: KrakenSpot, server: ScriptedKraken) -> None:
    with pytest.raises(UnknownSymbol, match="Unknown asset pair"):
        await venue.listed_since("NO/USD")
    server.script(TRADES, body('{"error":["EGeneral:Invalid arguments"]}'))
    with pytest.raises(VenueError, match="Invalid arguments") as caught:
        await venue.listed_since("BTC/USD")
    assert caught.value.permanent
    server.script(TRADES, *(body('{"error":["EService:Unavailable"]}') for _ in range(4)))
    with pytest.raises(VenueUnavailable, match="EService:Unavailable"):
        await venue.listed_since("BTC/USD")
    server.script(
        TRADES,
        body(json.dumps({"error": [f"EService: Throttled: {int(time.time()) + 1}"]})),
        body("<html>"),
        body('{"error":["WGeneral:Something"],"result":{"XXBTZUSD":[["1","2",1767571201.5,"b","m","",1]],"last":"1"}}'),
    )
    assert await venue.listed_since("BTC/USD") == datetime(2026, 1, 5, tzinfo=UTC)
    assert (await venue.status()).detail == "online"
    server.script("/0/public/SystemStatus", body('{"error":[],"result":{"status":"maintenance"}}'), status(502))
    assert not (await venue.status()).reachable
    assert "502" in (await venue.status()).detail
    server.script(
        TRADES, *(body('{"error":[],"result":{"XXBTZUSD":[["1","2",1.5,"b","m",""]],"last":"1"}}') for _ in "1234")
    )
    with pytest.raises(MalformedAnswer, match="Trades"):  # an old answer, without ids
        await venue.listed_since("BTC/USD")


async def test_each_pair_is_asked_once_a_second(server: ScriptedKraken) -> None:
    venue = KrakenSpot(server.url, Freely(), policy=HASTY)
    venue.pair_pause = 0.2
    begun = time.monotonic()
    for _ in range(4):
        await venue.listed_since("BTC/USD")
    assert 0.6 <= time.monotonic() - begun < 2
    await venue.close()


async def test_made_from_settings(server: ScriptedKraken) -> None:
    venue = make_venue(Settings(venue="kraken", kraken_url=server.url))
    assert (venue.name, venue.traits.states_empty_bars) == ("kraken", True)
    assert await venue.server_time() == datetime.fromtimestamp(NOW_MS // 1000, UTC)
    await venue.close()


@pytest.mark.realdata
def test_recorded_bars(recorded_data: Path) -> None:
    content = (recorded_data / "rest_ws_samples/kraken/http_ohlc.json").read_bytes()
    raw = json.loads(content)["result"]["XBTUSDT"]
    rows, last, unread = parse.parse_ohlc(content)
    assert not unread
    assert (len(raw), len(rows), last) == (721, 720, 1762820160), "the running row is left out"
    span = rows[0][0] * 1000, last * 1000 + 1
    bars, refused = parse.frame_of_ohlc(rows, FetchPlan("BTC-USDT", "BTC/USDT", Timeframe.M1), NOW, span)
    assert not refused
    assert bars.height == 720
    assert (bars["open_time"].diff().drop_nulls() == MINUTE).all()
    said = [(row[0] * 1000, *map(float, row[1:5]), float(row[6]), row[7]) for row in raw[:-1]]
    assert values(bars) == said
    flat = bars.filter(pl.col("trade_count") == 0)
    assert (flat["high"] == flat["low"]).all()
    assert (flat["volume"] == 0).all()
    assert flat.height == sum(1 for row in raw[:-1] if row[7] == 0)


@pytest.mark.realdata
def test_recorded_answers(recorded_data: Path) -> None:
    folder = recorded_data / "rest_ws_samples"
    (pair,) = (
        each
        for each in parse.parse_pairs((folder / "kraken/http_asset_pairs.json").read_bytes())
        if each.quote == "USDT"
    )
    assert (pair.venue_symbol, pair.base) == ("BTC/USDT", "BTC")
    assert parse.parse_server_time((folder / "kraken/http_server_time.json").read_bytes()) == 1_762_820_224_000
    assert parse.parse_status((folder / "kraken/http_system_status.json").read_bytes()) == "online"
    sample = json.loads((folder / "contract_pairs.json").read_text())["kraken"]["fetchTrades"]
    page, last = parse.parse_trades(json.dumps(sample["raw"]).encode())
    (trade,) = page.rows
    (normal,) = sample["normalised"]
    assert (str(trade.trade_id), trade.ms, trade.price, trade.quantity) == (
        normal["id"], normal["timestamp_ms"], normal["price"], normal["amount"]
    )  # fmt: skip
    assert trade.taker_buy == (normal["side"] == "buy")
    assert last == 1710327959173746878
