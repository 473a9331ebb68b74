"""Trouble with the database and with memory; guests at the minute's end; parts of the instruments."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from crypto_pipeline.ingest import MinuteDone, run_ingest
from crypto_pipeline.ingest.run import in_shard
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline_tests.ingest.conftest import Desk

MINUTE = timedelta(minutes=1)


class Jam:
    """Keeps everyone else from writing trades and bars for a while."""

    def __init__(self, desk: Desk) -> None:
        self._release, self._held = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, args=[desk])

    def _hold(self, desk: Desk) -> None:
        with desk.store.connections.transaction() as connection:
            connection.execute("LOCK TABLE market.trades, market.coverage IN ACCESS EXCLUSIVE MODE")
            self._held.set()
            self._release.wait(60)

    def __enter__(self) -> None:
        self._thread.start()
        self._held.wait(10)

    def __exit__(self, *_: object) -> None:
        self._release.set()
        self._thread.join()


async def test_what_memory_cannot_hold_is_written_down_and_fetched_again(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(8, speed=60.0, settings={"ingest_buffer_trades": 1000})
    clock = desk.exchange.clock
    told: list[Any] = []
    async with desk.ingesting(report=told.append):
        start = await desk.first_whole_minute()
        await desk.until(lambda: bool(desk.trades(start, start + 60 * MINUTE).height))
        with Jam(desk):
            until = clock.now() + 15 * MINUTE
            while clock.now() < until:
                await asyncio.sleep(0.2)
        end = Timeframe.M1.floor(clock.now()) + MINUTE
        await desk.until(lambda: clock.now() > end + MINUTE)
        await desk.reach(start, end)
        await desk.until(lambda: bool(told and told[-1]["overflowed"]), 30)
        evidence = desk.store.ledger.healed()["evidence"].to_list()
    assert all(each["waiting"] <= 1000 + 400 for each in told)
    assert any("memory was full" in each for each in evidence)


async def test_guests_run_under_the_lease_and_cannot_stop_ingest(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(3, speed=30.0)
    seen: list[MinuteDone] = []

    async def guest(done: MinuteDone) -> dict[str, Any]:
        seen.append(done)
        if len(seen) == 2:
            raise RuntimeError("a bad guest")
        done.store.heartbeats.beat("guest", "guest")
        return {"bars_made": 1000, "oldest_gap": done.now, "more": 7}

    async with desk.ingesting(on_minute=guest):
        await desk.until(lambda: len(seen) >= 4)
    assert seen[0].instruments == sorted(desk.symbols, key=desk.symbols.index)
    assert seen[0].now.second == 0
    runs = desk.store.metrics.recent(seen[0].now.replace(year=2020), "live_ingest")
    assert "RuntimeError: a bad guest" in runs["status"].to_list()
    assert runs["bars_made"][0] >= 1000


async def test_parts_of_the_instruments_are_ingested_side_by_side(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(10, speed=20.0)
    clock, stop = desk.exchange.clock, asyncio.Event()
    assert {in_shard(symbol, 0, 2) for symbol in desk.symbols} == {True, False}
    runs = [asyncio.create_task(run_ingest(desk.settings, shard, 2, stop, store=desk.store)) for shard in (0, 1)]

    def live() -> bool:
        beats = desk.store.heartbeats.all("ingest-%")
        return len(beats) == 2 and all(beat.detail["state"] == "live" for beat in beats)

    await desk.until(live)
    start = Timeframe.M1.ceil(clock.now())
    await desk.until(lambda: clock.now() > start + 3 * MINUTE + timedelta(seconds=30))
    await desk.reach(start, start + 3 * MINUTE)
    assert sum(beat.detail["instruments"] for beat in desk.store.heartbeats.all("ingest-%")) == 10
    stop.set()
    assert await asyncio.gather(*runs) == ["stopped", "stopped"]


async def test_a_part_of_the_stream_that_falls_silent_is_noticed(make_desk: Callable[..., Desk]) -> None:
    """Frozen without a word, and the socket open: the minute's end shows it, whatever the socket says."""
    desk = make_desk(4, speed=20.0)
    clock = desk.exchange.clock
    async with desk.ingesting():
        start = await desk.first_whole_minute()
        desk.exchange.control({"kind": "ws_freeze", "symbol": desk.symbols[0].replace("-", ""), "seconds": 3600})
        await desk.until(lambda: clock.now() > start + 4 * MINUTE)
        await desk.reach(start, start + 3 * MINUTE)
