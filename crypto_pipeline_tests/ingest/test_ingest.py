"""The whole path: the exchange's websocket in, stored trades and bars out, held against the tape.

Guards I6, I8 and I12 (docs/invariants.md).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline_tests.ingest.conftest import Desk

MINUTE = timedelta(minutes=1)


async def test_trades_and_bars_arrive_by_themselves(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(6, speed=20.0)
    clock = desk.exchange.clock
    async with desk.ingesting():
        start = await desk.first_whole_minute()
        await desk.until(lambda: clock.now() > start + 5 * MINUTE + timedelta(seconds=20))
        bars = desk.check(start, start + 4 * MINUTE)
        assert len(bars) == 4 * 6
        assert set(bars["source"]) == {"live_aggregated"}
        prices = desk.store.live.prices(timeframes=list(Timeframe))
        assert len(prices) == 6 * len(Timeframe)
        assert prices["age"].max() < 5
    assert desk.store.leases.rows()[0].held is False
    end = Timeframe.M1.floor(clock.now()) - MINUTE
    desk.check(start - MINUTE, min(end, start + 6 * MINUTE))
    metrics = desk.store.metrics.summary(clock.now().replace(year=2020))
    assert metrics.select("job", "last_status").rows() == [("live_ingest", "succeeded")]
    assert metrics["bars_made"][0] >= 24
    assert prices.filter(pl.col("timeframe") == "1m")["last_price"].is_not_null().all()


async def test_every_fault_of_the_stream_is_healed(make_desk: Callable[..., Desk]) -> None:
    """Cut, duplicated, reordered, late, dropped, malformed, wrong ids: in the end all equals the tape."""
    desk = make_desk(8, speed=20.0)
    clock = desk.exchange.clock
    async with desk.ingesting():
        start = await desk.first_whole_minute()
        desk.exchange.control(
            {"kind": "ws_duplicate", "probability": 0.05, "copies": 2},
            {"kind": "ws_reorder", "probability": 0.05, "by": 3},
            {"kind": "ws_delay", "probability": 0.03, "seconds": 2.0},
            {"kind": "ws_drop", "probability": 0.05},
            {"kind": "ws_malformed", "probability": 0.02},
            {"kind": "ws_bad_ids", "probability": 0.02},
            {"kind": "ws_bad_ids", "probability": 0.02, "manner": "repeat"},
            {"kind": "ws_bad_ids", "probability": 0.01, "manner": "zero"},
            {"kind": "ws_clock_skew", "probability": 0.05, "fields": ["E"]},
        )
        await desk.until(lambda: clock.now() > start + 4 * MINUTE)
        desk.exchange.control({"kind": "ws_cut", "count": 1})
        await desk.until(lambda: clock.now() > start + 8 * MINUTE)
        desk.exchange.clear_faults()
        await desk.until(lambda: clock.now() > start + 10 * MINUTE)
        await desk.reach(start, start + 9 * MINUTE)
        bars = desk.check(start, start + 9 * MINUTE)
    assert len(bars) == 9 * 8
    assert (bars["source"] == "live_gap_filled").any()
