"""The streams of an exchange of ccxt: candles that are over and trades, from a scripted socket to the table.

Guards I1 and I8 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import polars as pl
import pytest
from aiohttp import web

from crypto_pipeline.ingest.run import run_ingest
from crypto_pipeline.ingest.stated_bars import confirmation
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.store import Store
from crypto_pipeline.store.instruments import ListingRow
from crypto_pipeline.venue_names import has_stream, streams_of_ccxt
from crypto_pipeline.venues import make_stream
from crypto_pipeline.venues.ccxt import parse
from crypto_pipeline.venues.ccxt.stream import CcxtConnection, CcxtStream
from crypto_pipeline.venues.stream_protocol import Event, LiveBar, Notice, StreamClosed, StreamPlan
from crypto_pipeline_tests.venues.contract.ccxt_streams import (
    BitstampServer,
    KucoinServer,
    OkxServer,
    StreamingServer,
    deals_between,
    okx_candle,
)
from crypto_pipeline_tests.venues.contract.ccxt_wires import BitstampWire, CcxtWire, KucoinWire, OkxWire
from crypto_pipeline_tests.venues.contract.market import MINUTE, Market, Row
from crypto_pipeline_tests.venues.contract.server import Unlimited, told

M1 = Timeframe.M1
BTC, ETH = ("BTC-USDT@ccxt_okx", "BTC/USDT"), ("ETH-USDT@ccxt_okx", "ETH/USDT")


@asynccontextmanager
async def streaming(*instruments: tuple[str, str]) -> AsyncIterator[tuple[OkxServer, CcxtConnection]]:
    async with OkxServer(OkxWire(Market())) as server:
        stream = make_stream(server.wire.settings(server.url).model_copy(update={"venue": "ccxt_okx"}))
        assert isinstance(stream, CcxtStream)
        connection = await stream.connect(StreamPlan(list(instruments)))
        try:
            yield server, connection
        finally:
            await connection.close()
            await stream.close()


def trade(name: str, number: int, time: int, price: float = 100.0) -> dict[str, str]:
    return {"instId": name, "tradeId": str(number), "px": f"{price}", "sz": "0.5", "side": "sell", "ts": str(time)}


async def take(connection: CcxtConnection, enough: Callable[[list[Event]], bool]) -> list[Event]:
    """Events until there are enough."""
    events: list[Event] = []
    async with asyncio.timeout(20), aclosing(connection.events()) as frames:
        async for frame in frames:
            events += frame
            if enough(events):
                return events
    return events


async def _exhaust(frames: AsyncIterator[list[Event]]) -> None:
    async for _ in frames:
        pass


def rows_of(market: Market, count: int) -> list[Row]:
    return market.bars(market.pairs["BTC"], MINUTE, flat=False)[-count:]


async def test_a_candle_is_over_when_a_later_one_begins() -> None:
    async with streaming(BTC) as (server, connection):
        first, second, third = rows_of(server.wire.market, 3)
        reading = asyncio.create_task(take(connection, lambda events: len(events) >= 4))
        await server.send("candle1m", "BTC-USDT", okx_candle(first._replace(close=first.low, volume=first.volume / 2)))
        await server.send("candle1m", "BTC-USDT", okx_candle(first))
        await server.send("trades", "BTC-USDT", trade("BTC-USDT", 7, first.time + 1))
        await server.send("candle1m", "BTC-USDT", okx_candle(second))
        await server.send("candle1m", "BTC-USDT", ["1", "2"])  # no candle
        await server.send("candle1m", "BTC-USDT", okx_candle(third))
        events = await reading
    bars = [event for event in events if isinstance(event, LiveBar)]
    assert [(one.open_ms, one.close, one.volume, one.closed) for one in bars] == [
        (row.time, row.close, row.volume, True) for row in (first, second)
    ]
    (price,) = [event for event in events if hasattr(event, "price")]
    assert (price.instrument, price.time_ms, price.price, price.taker_buy) == (BTC[0], first.time + 1, 100.0, False)
    (bad,) = [event for event in events if isinstance(event, Notice)]
    assert bad.instrument == BTC[0]
    assert "malformed" in bad.text


async def test_a_refused_subscription_costs_itself_and_an_end_is_told() -> None:
    async with streaming(BTC, ("NOPE-USDT@ccxt_okx", "NOPE/USDT")) as (server, connection):
        first, second = rows_of(server.wire.market, 2)

        def enough(events: list[Event]) -> bool:
            refused = sum(isinstance(event, Notice) and event.kind == "refused" for event in events)
            return refused == 2 and any(isinstance(event, LiveBar) for event in events)

        async with asyncio.timeout(20), aclosing(connection.events()) as frames:
            events: list[Event] = []
            sending = asyncio.create_task(server.send("candle1m", "BTC-USDT", okx_candle(first), okx_candle(second)))
            async for frame in frames:
                events += frame
                if enough(events):
                    break
            await sending
            await server.cut()
            with pytest.raises(StreamClosed, match="ccxt_okx"):
                await _exhaust(frames)
    refused = {event.instrument for event in events if isinstance(event, Notice) and event.kind == "refused"}
    assert refused == {"NOPE-USDT@ccxt_okx"}


SERVERS: dict[type[CcxtWire], Callable[[Any], StreamingServer]] = {
    OkxWire: OkxServer, KucoinWire: KucoinServer, BitstampWire: BitstampServer,
}  # fmt: skip


class Ingesting:
    """Ingest of BTC over a scripted exchange, whose REST states no bars before ``gate`` is set."""

    def __init__(self, server: StreamingServer, store: Store, task: asyncio.Task[str]) -> None:
        self.server, self.store, self.gate, self._task = server, store, asyncio.Event(), task
        market = server.wire.market
        self.pair = market.pairs["BTC"]
        self.forming = rows_of(market, 1)[0]
        first = self.forming.time - 5 * MINUTE
        #: minutes of the tape that are over
        self.rows = [row for row in rows_of(market, 6) if first <= row.time < self.forming.time]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await self.gate.wait()
        return self.server.wire.answer(request)

    async def send(self, *rows: Row, candles: bool = False) -> None:
        """What the exchange streams of minutes of the tape, all trades twice."""
        server, name = self.server, cast(CcxtWire, self.server.wire).id_of(self.pair)
        for row in rows:
            if candles:
                await server.candle(name, row._replace(close=row.low, volume=row.volume / 2))
                await server.candle(name, row)
            for deal in deals_between(server.wire.market.trades(self.pair), row.time, row.time + MINUTE):
                await server.trade(name, deal)
                await server.trade(name, deal)

    async def price(self) -> float | None:
        """The last price that is stored."""
        frame = await asyncio.to_thread(self.store.live.prices)
        return next(iter(frame["last_price"]), None)

    async def until(self, *rows: Row, complete: bool) -> None:
        """Wait until these minutes are stored, and no others. No forming minute is stored meanwhile."""
        span = from_unix_ms(self.rows[0].time - MINUTE), from_unix_ms(self.forming.time + MINUTE)
        wanted = [(row.time, complete, *map(pytest.approx, row[1:6])) for row in rows]
        values = ("complete", "open", "high", "low", "close", "volume")
        async with asyncio.timeout(60):
            while True:
                assert not self._task.done(), self._task
                found = await asyncio.to_thread(self.store.reader.read, [f"BTC-{self.server.wire.quote}"], M1, *span)  # type: ignore[attr-defined]
                stored = found.select(pl.col("open_time").dt.epoch("ms"), *values).rows()
                if stored == wanted:
                    return
                assert self.forming.time not in {row[0] for row in stored}, "a forming bar is stored"
                await asyncio.sleep(0.05)


@asynccontextmanager
async def ingesting(kind: type[CcxtWire], url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ingesting]:
    monkeypatch.setattr(confirmation, "_EVERY", 0.2)
    wire, store, stop = kind(Market()), Store(url), asyncio.Event()
    symbol = f"BTC-{wire.quote}"
    store.instruments.add([Instrument.crypto(symbol)])
    store.instruments.set_listings(wire.name, [ListingRow(symbol, wire.symbol("BTC"))])
    store.instruments.assign_venue(wire.name)
    async with SERVERS[kind](wire) as server:
        changes = {"venue": wire.name, "ingest_lease_seconds": 3, "request_timeout": 60.0}
        settings = wire.settings(server.url).model_copy(update=changes)
        task = asyncio.create_task(run_ingest(settings, stop=stop, store=store))
        live = Ingesting(server, store, task)
        server.fail("bars", *[live.answer] * 99)
        try:
            yield live
        finally:
            live.gate.set()
            stop.set()
            await asyncio.wait_for(task, 30)


@pytest.mark.parametrize("kind", SERVERS, ids=lambda kind: kind.name)
async def test_minutes_of_a_stream_are_provisional_and_end_as_those_of_the_tape(
    kind: type[CcxtWire], postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without candles (Bitstamp) they are made of trades, from the first whole minute on."""
    async with ingesting(kind, postgres_url, monkeypatch) as live:
        live.server.fail("token", *[told({}, 500)] * 2, told({"code": "200000", "data": {}}))
        candles = kind is not BitstampWire
        await live.send(*live.rows, live.forming, candles=candles)
        await live.until(*(live.rows if candles else live.rows[1:]), complete=False)
        live.gate.set()
        await live.until(*live.rows, complete=True)


async def test_minutes_in_which_a_stream_of_trades_was_lost_come_from_rest(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ingesting(BitstampWire, postgres_url, monkeypatch) as live:
        await live.send(*live.rows[:3])
        await live.until(*live.rows[1:3], complete=False)
        await live.server.cut()
        await live.send(live.rows[4], live.forming)  # the fourth is lost, the fifth is the first on the new link
        async with asyncio.timeout(30):
            while await live.price() != float(live.server.wire.market.trades(live.pair)[-1].price):
                await asyncio.sleep(0.05)
        await live.until(*live.rows[1:3], complete=False)
        live.gate.set()
        await live.until(*live.rows, complete=True)


async def test_trades_after_a_loss_do_not_make_a_minute_that_misses_some() -> None:
    async with BitstampServer(BitstampWire(Market())) as server:
        settings = server.wire.settings(server.url)
        stream = make_stream(settings, "ccxt_bitstamp")
        assert (stream.stream_traits.states_bars, stream.stream_traits.contiguous_ids) == (False, False)
        pair = server.wire.market.pairs["BTC"]
        deals = server.wire.market.trades(pair)[-4:]
        for _ in range(2):
            connection = await stream.connect(StreamPlan([("BTC", "BTC/USD")], bars=False))
            events: list[Event] = []
            async with asyncio.timeout(20), aclosing(connection.events()) as frames:  # type: ignore[type-var]
                reading = asyncio.create_task(anext(frames))
                for deal in deals[:2]:
                    await server.trade(server.wire.id_of(pair), deal)
                await server.send(server.wire.id_of(pair), {"id": 5, "microtimestamp": "1000000", "type": 0})
                await server.trade(server.wire.id_of(pair), deals[2])
                events += await reading
                while len(events) < 6:
                    events += await anext(frames)
            kinds = [type(event).__name__ for event in events]
            assert kinds == ["Anchor", "LiveTrade", "LiveTrade", "Notice", "Anchor", "LiveTrade"]
            ids = [event.trade_id for event in events if isinstance(event, LiveTrade)]
            assert len(set(ids)) == 3
            server.sockets.clear()
        await stream.close()


async def test_the_token_of_a_socket_is_asked_for_on_the_budget() -> None:
    async with KucoinServer(KucoinWire(Market())) as server:
        budget = Unlimited()
        stream = make_stream(server.wire.settings(server.url), "ccxt_kucoin", budget)
        connection = await stream.connect(StreamPlan([("BTC", "BTC/USDT")]))
        booked = budget.booked
        async with aclosing(connection.events()) as frames:  # type: ignore[type-var]
            reading = asyncio.create_task(anext(frames))
            deal = server.wire.market.trades(server.wire.market.pairs["BTC"])[-1]
            await server.trade("BTC-USDT", deal)
            (event,) = await reading
        assert isinstance(event, LiveTrade)
        assert (event.price, event.taker_buy) == (float(deal.price), deal.taker_buy)
        assert (server.tokens, booked > 0) == (1, True)
        assert budget.booked - booked == 75, "as ccxt weighs the request, in milliseconds"
        await stream.close()


def test_venues_say_whether_they_stream_without_importing_ccxt() -> None:
    assert has_stream("ccxt_okx")
    assert has_stream("ccxt_okxus"), "ccxt makes it from okx"
    assert has_stream("ccxt_kucoin"), "the address of its stream takes a POST"
    assert has_stream("ccxt_bitstamp"), "it streams trades, and no candles"
    assert not has_stream("ccxt_zaif")
    assert streams_of_ccxt("bitstamp") == {"watchTrades"}
    assert streams_of_ccxt("kucoinfutures") == {"watchTrades", "watchOHLCV"}


async def test_a_fault_of_this_program_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(row: object) -> object:
        raise RuntimeError("no place for it")

    async with BitstampServer(BitstampWire(Market())) as server:
        stream = make_stream(server.wire.settings(server.url), "ccxt_bitstamp")
        pair = server.wire.market.pairs["BTC"]
        connection = await stream.connect(StreamPlan([("BTC", "BTC/USD")], bars=False))
        monkeypatch.setattr(parse, "read_trade", fail)
        async with asyncio.timeout(20), aclosing(connection.events()) as frames:  # type: ignore[type-var]
            reading = asyncio.create_task(anext(frames))
            await server.trade(server.wire.id_of(pair), server.wire.market.trades(pair)[-1])
            with pytest.raises(RuntimeError, match="no place for it"):
                await reading
        await stream.close()
