"""The whole path: the exchange's websocket in, stored trades and bars out, held against the tape."""

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
        await desk.until(lambda: desk.state() == "live")
        start = Timeframe.M1.ceil(clock.now())
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
    assert metrics.select("job", "last_status").rows() == [("live_processor", "succeeded")]
    assert metrics["bars_made"][0] >= 24
    assert prices.filter(pl.col("timeframe") == "1m")["last_price"].is_not_null().all()
