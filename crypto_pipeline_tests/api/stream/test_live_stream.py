"""``crypto_pipeline.stream`` against a server: through breaks and a restart nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

import crypto_pipeline
from crypto_pipeline import Reader, StoreError
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import EPOCH, unix_ms
from crypto_pipeline.reading.stream import StreamUpdate
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.api.stream.test_stream import price
from crypto_pipeline_tests.builders.bars import START, bar, frame

BARS = "bars/BTC-USDT/1m"


def serving(url: str, port: int | None = None) -> Served:
    return Served(Reader(url, patience=2.0), load_settings(), port)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)  # what is waited for comes from another thread


def cut(served: Served) -> None:
    """Break every connection, as a network does."""
    for each in list(served.server.server_state.connections):
        each.loop.call_soon_threadsafe(each.transport.abort)


async def test_it_goes_on_after_a_break_and_after_a_restart(served_database: str) -> None:
    seen: list[StreamUpdate] = []

    async def follow() -> None:
        async with crypto_pipeline.stream("prices", BARS, url=f"127.0.0.1:{first.port}") as updates:
            async for update in updates:
                seen.append(update)

    def prices() -> list[float]:
        rows = [row for update in seen if update.channel == "prices" for row in update.rows]
        return [row["price"] for row in rows if row["instrument"] == "BTC-USDT"]

    def write(value: float) -> None:
        store.live.flush("replay", prices=[price("BTC-USDT", value, unix_ms(START))])

    with Store(served_database) as store:
        write(1.0)
        with serving(served_database) as first:
            following = asyncio.create_task(follow())
            await until(lambda: {update.channel for update in seen} == {"prices", BARS})
            for value in (2.0, 3.0, 4.0):
                cut(first)
                write(value)
                await until(lambda value=value: prices()[-1] == value)  # type: ignore[misc]
            assert prices() == [1.0, 2.0, 3.0, 4.0], "nothing is lost and nothing comes twice"
            assert [update.kind for update in seen].count("snapshot") == 2, "it went on where it was"
        write(5.0)
        store.bars.write(frame([bar(at=START + timedelta(hours=2))]), Timeframe.M1)
        seen.clear()
        with serving(served_database, first.port):
            await until(lambda: any(update.kind == "changed" for update in seen) and prices() == [5.0])
            bars = next(update for update in seen if update.channel == BARS and update.kind == "snapshot").frame()
            assert bars["open_time"][-1] == START + timedelta(hours=2)
            # what was missed may also lie before the newest bars
            assert next(update.spans for update in seen if update.kind == "changed") == [(EPOCH, bars["open_time"][0])]
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def test_what_is_wrong_is_said_at_once(served: Served) -> None:
    async def first(*channels: str, url: str) -> None:
        async for _ in crypto_pipeline.stream(*channels, url=url):
            return

    with pytest.raises(StoreError, match=r"no stream answers at ws://127\.0\.0\.1:1/stream"):
        await first("prices", url="http://127.0.0.1:1")
    with pytest.raises(StoreError, match="unknown channel 'price': did you mean prices"):
        await first("price", url=served.url)
    with pytest.raises(ValueError, match="name at least one"):
        crypto_pipeline.stream(url=served.url)
    with pytest.raises(ValueError, match="no address of a server"):
        crypto_pipeline.stream("prices", url="ftp://here")


async def test_it_says_what_time_it_is(served: Served) -> None:
    async with crypto_pipeline.stream("alerts", url=served.url) as updates:
        assert updates.market_time() is None
        async for update in updates:
            assert repr(update) == "<snapshot of alerts: 0 rows>"
            break
        now = updates.market_time()
    assert now is not None
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)
