"""Our stream client against the replay exchange: stream and REST agree to the trade, bars to the last digit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest_asyncio

from crypto_pipeline.market.bars import BarOrigin
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.aggregation import bars_from_trades
from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.settings import Settings
from crypto_pipeline.venues import LiveBar, LiveTrade, StreamPlan, frame_of_live_trades, make_stream, make_venue

NAMES = ["BTC-USDT", "ETH-USDT", "SHIB-USDT"]
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
PLAN = StreamPlan([(name, name.replace("-", "")) for name in NAMES])


@pytest_asyncio.fixture
async def exchange() -> AsyncIterator[ReplayExchange]:
    async with ReplayExchange(instruments=",".join(NAMES), speed=60.0, now=NOW) as running:
        yield running


async def test_stream_and_rest_agree(exchange: ReplayExchange) -> None:
    settings = Settings(venue="replay", host=exchange.host, replay_port=exchange.port)
    stream, venue = make_stream(settings), make_venue(settings)
    assert [part.instruments for part in stream.spread(PLAN)] == [PLAN.instruments]
    connection = await stream.connect(PLAN)
    trades: dict[str, list[LiveTrade]] = {name: [] for name in NAMES}
    closed: dict[str, list[LiveBar]] = {name: [] for name in NAMES}
    async with asyncio.timeout(30), aclosing(connection.events()) as frames:  # type: ignore[type-var]
        async for events in frames:
            for event in events:
                if isinstance(event, LiveTrade):
                    trades[event.instrument].append(event)
                elif isinstance(event, LiveBar) and event.closed:
                    closed[event.instrument].append(event)
            if all(len(bars) >= 4 for bars in closed.values()):
                break
    assert connection.counters["unknown"] == connection.counters["malformed"] == connection.counters["fields"] == 0
    for name, symbol in PLAN.instruments:
        ids = [trade.trade_id for trade in trades[name]]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        # The first bar began before us.
        begin, end = closed[name][1].open_ms, closed[name][-1].open_ms + 60_000
        inside = frame_of_live_trades([trade for trade in trades[name] if begin <= trade.time_ms < end])
        span = (datetime.fromtimestamp(begin / 1000, UTC), datetime.fromtimestamp(end / 1000, UTC))
        rest = await venue.trades(name, symbol, *span)
        assert inside.equals(rest.trades)
        made = bars_from_trades(inside, Timeframe.M1, source=BarOrigin.LIVE_AGGREGATED, revision=span[1])
        stated = {bar.open_ms: bar for bar in closed[name][1:]}
        assert list(stated) == list(range(begin, end, 60_000))
        for row in made.with_columns(pl.col("open_time").dt.epoch("ms")).iter_rows(named=True):
            bar = stated.pop(row["open_time"])
            assert (row["open"], row["high"], row["low"], row["close"]) == (bar.open, bar.high, bar.low, bar.close)
            assert row["trade_count"] == bar.trade_count
            assert abs(row["volume"] - bar.volume) < 1e-9 * max(1.0, bar.volume)
            assert abs(row["taker_buy_volume"] - (bar.taker_buy_volume or 0)) < 1e-9 * max(1.0, bar.volume)
        # What is left had no trade, and the venue says so.
        assert all(bar.trade_count == 0 and bar.first_id is None for bar in stated.values())
        assert timedelta(milliseconds=closed[name][1].event_ms - begin) < timedelta(seconds=63)
    await stream.close()
    await venue.close()
