"""The Binance client against the replay exchange, whose tape is the truth."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
import pytest_asyncio

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.replay.market.tape import chunk_start, chunk_width
from crypto_pipeline.settings import Settings
from crypto_pipeline.venues import (
    BinanceSpot,
    FetchPlan,
    ListingStatus,
    UnknownSymbol,
    VenueUnavailable,
    make_venue,
)
from crypto_pipeline_tests.venues.conftest import HASTY

NOW = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)
DAY = datetime(2026, 11, 18, tzinfo=UTC)
#: What two frames of the same bars agree in; revision is when they were stated.
SAME = ("open_time", "open", "high", "low", "close", "volume", "quote_volume", "trade_count")


@pytest_asyncio.fixture
async def exchange() -> AsyncIterator[ReplayExchange]:
    async with ReplayExchange(now=NOW, instruments="BTC-USDT,HIPPO-USDT,TREMP-USDT") as running:
        yield running


@pytest_asyncio.fixture
async def venue(exchange: ReplayExchange) -> AsyncIterator[BinanceSpot]:
    client = BinanceSpot(exchange.url, exchange.url, name="replay", policy=replace(HASTY, timeout=2))
    yield client
    await client.close()


def truth(
    exchange: ReplayExchange, start: datetime, end: datetime, timeframe: Timeframe = Timeframe.M1
) -> pl.DataFrame:
    """The tape as text, each number read to the nearest double."""
    first, last = unix_ms(start), unix_ms(end)
    chunks = range(chunk_start(timeframe, first), last, chunk_width(timeframe))
    text = pl.concat(exchange.tape.bar_text("BTCUSDT", timeframe, chunk) for chunk in chunks)
    return text.filter(pl.col("open_ms").is_between(first, last, closed="left")).select(
        pl.col("open_ms").cast(UTC_MS).alias("open_time"),
        *(pl.col(name).cast(pl.Float64) for name in ("open", "high", "low", "close", "volume", "quote_volume")),
        pl.col("trades").alias("trade_count"),
    )


async def bars(venue: BinanceSpot, *plans: FetchPlan, archive: bool = True) -> pl.DataFrame:
    return pl.concat([answer.bars async for answer in venue.bars_many(list(plans), archive=archive)])


def plan(start: datetime, end: datetime, timeframe: Timeframe = Timeframe.M1, base: str = "BTC") -> FetchPlan:
    return FetchPlan(f"{base}-USDT", f"{base}USDT", timeframe, [(start, end)])


FAULTS: list[dict[str, Any]] = [
    {"kind": "rate_limit", "retry_after": 0, "count": 3},
    {"kind": "server_error", "count": 2, "endpoint": "klines"},
    {"kind": "truncated", "count": 2, "endpoint": "klines"},
    {"kind": "malformed", "count": 2},
    {"kind": "hang", "count": 1, "seconds": 60},
    {"kind": "short_pages", "rows": 77},
    {"kind": "corrupt_archive", "manner": "bytes", "count": 3},
    {"kind": "corrupt_archive", "manner": "header", "probability": 0.5},
]


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("faults", [[], FAULTS], ids=["fair", "faulty"])
async def test_every_bar_equals_the_tape(
    exchange: ReplayExchange, venue: BinanceSpot, archive: bool, faults: list[dict[str, Any]]
) -> None:
    start, end = DAY - timedelta(days=3), DAY + timedelta(days=1)
    exchange.control(*faults)
    found = await bars(venue, plan(start, end), archive=archive)
    assert found.select(SAME).equals(truth(exchange, start, end))


@pytest.mark.parametrize("timeframe", [Timeframe.M5, Timeframe.H1, Timeframe.D1, Timeframe.W1])
async def test_higher_timeframes_too(exchange: ReplayExchange, venue: BinanceSpot, timeframe: Timeframe) -> None:
    start, end = datetime(2026, 10, 5, tzinfo=UTC), NOW + timedelta(days=30)
    found = await bars(venue, plan(start, end, timeframe))
    settled = timeframe.floor(NOW)
    assert found["open_time"].max() == settled - timeframe.delta, "the forming bar is left out"
    assert found.select(SAME).equals(truth(exchange, start, settled, timeframe))


async def test_trades_equal_the_tape_and_their_ids_join(exchange: ReplayExchange, venue: BinanceSpot) -> None:
    start, end = DAY + timedelta(hours=23), DAY + timedelta(hours=26)
    days = [exchange.tape.trade_text("BTCUSDT", unix_ms(day)) for day in (DAY, DAY + timedelta(days=1))]
    tape = pl.concat(days).filter(pl.col("time_ms").is_between(unix_ms(start), unix_ms(end), closed="left"))
    found = await venue.trades("BTC-USDT", "BTCUSDT", start, end)
    assert tape.height > 1000
    assert (
        found.trades.select(pl.exclude("instrument", "taker_side")).rows()
        == tape.select(
            "id", "first_id", "last_id", pl.col("time_ms").cast(UTC_MS), pl.col("price", "quantity").cast(pl.Float64)
        ).rows()
    )
    assert (found.trades["taker_side"] == "sell").equals(tape["buyer_is_maker"])
    assert (found.id_before, found.id_after) == (tape["id"][0] - 1, tape["id"][-1] + 1)


async def test_listing_facts(exchange: ReplayExchange, venue: BinanceSpot) -> None:
    status = {one.venue_symbol: one.status for one in await venue.listings()}
    assert status["BTCUSDT"] is ListingStatus.TRADING
    assert status["TREMPUSDT"] is ListingStatus.PAUSED
    listed = await venue.listed_since("HIPPOUSDT")
    assert listed is not None
    assert datetime(2026, 11, 18, 10, 30, tzinfo=UTC) <= listed < datetime(2026, 11, 18, 12, tzinfo=UTC)
    last = await venue.last_bar("TREMPUSDT")
    assert last is not None
    assert last < datetime(2026, 11, 17, 6, tzinfo=UTC)
    assert timedelta(0) <= await venue.server_time() - NOW < timedelta(seconds=20)
    with pytest.raises(UnknownSymbol, match="NOPEUSDT"):
        await bars(venue, FetchPlan("NOPE-USDT", "NOPEUSDT", Timeframe.M1, [(DAY, NOW)]))


async def test_an_outage_is_unavailable_and_then_over(exchange: ReplayExchange, venue: BinanceSpot) -> None:
    exchange.control({"kind": "outage", "manner": "refuse"})
    assert not (await venue.status()).reachable
    with pytest.raises(VenueUnavailable):
        await bars(venue, plan(DAY, NOW))
    exchange.clear_faults()
    assert (await venue.status()).reachable
    assert (await bars(venue, plan(DAY, DAY + timedelta(hours=1)))).height == 60


async def test_revisions_rise_with_each_statement(exchange: ReplayExchange, venue: BinanceSpot) -> None:
    span = (DAY, DAY + timedelta(hours=1))
    fault = exchange.control(
        {"kind": "wrong_values", "start": span[0].isoformat(), "end": span[1].isoformat(), "factor": 0.5}
    )
    wrong = await bars(venue, plan(*span))
    exchange.clear_faults(fault[0])
    right = await bars(venue, plan(*span))
    assert (wrong["volume"] < right["volume"]).any()
    assert wrong["revision"].max() < right["revision"].min()  # type: ignore[operator]
    assert right["revision"][0] - NOW < timedelta(seconds=20), "stated in the venue's own time"


async def test_made_from_settings(exchange: ReplayExchange) -> None:
    made = make_venue(Settings(venue="replay", host=exchange.host, replay_port=exchange.port))
    assert made.name == "replay"
    assert (await made.status()).reachable
    assert (await bars(made, plan(DAY, DAY + timedelta(hours=1)))).height == 60
    await made.close()


def test_unknown_venue_names_the_choices() -> None:
    with pytest.raises(ValueError, match=r"'mtgox'.*replay, binance, coinbase, kraken"):
        make_venue(Settings().model_copy(update={"venue": "mtgox"}))
