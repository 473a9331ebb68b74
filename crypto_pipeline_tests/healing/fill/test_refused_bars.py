"""Bars that cannot be: a hole with evidence, rebuilt from trades or asked for again until it was often enough."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline_tests.healing.conftest import NOW, Bench

DAY = datetime(2026, 11, 19, tzinfo=UTC)
SPAN = {"start": DAY + timedelta(hours=9), "end": DAY + timedelta(hours=9, minutes=3)}
WRONG = {
    "kind": "wrong_values", "symbol": "BTCUSDT", "columns": ["high"], "factor": 0.5, "endpoint": ["klines", "archive"],
    **{name: moment.isoformat() for name, moment in SPAN.items()},
}  # fmt: skip
NO_TRADES = {
    "kind": "missing_range", "symbol": "BTCUSDT", "endpoint": ["aggTrades"],
    **{name: moment.isoformat() for name, moment in SPAN.items()},
}  # fmt: skip


def test_a_bar_that_cannot_be_is_rebuilt_from_trades(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(instruments="BTCUSDT,ETHUSDT", faults=[WRONG])
    bench.collect("BTC-USDT", "ETH-USDT")
    report = bench.run(lambda pipeline: pipeline.backfill(timeframes=[Timeframe.M1]))
    assert report.of(Timeframe.M1).rebuilt_from_trades == 3
    bars = bench.store.reader.read(["BTC-USDT"], Timeframe.M1, SPAN["start"], SPAN["end"])
    assert bars["source"].to_list() == ["historical_aggregated"] * 3
    assert bench.store.ledger.open().is_empty()


def test_a_bar_that_cannot_be_for_ever_is_lost_with_the_reason_and_comes_to_an_end(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(instruments="BTCUSDT,ETHUSDT", faults=[WRONG, NO_TRADES], settings={"heal_attempts": 3})
    bench.collect("BTC-USDT", "ETH-USDT")
    seen = []
    for _ in range(4):
        bench.run(lambda pipeline: pipeline.backfill(timeframes=[Timeframe.M1]))
        rows = bench.store.ledger.open(timeframe=Timeframe.M1)
        seen.append(rows.select("state", "attempts").unique().rows())
        assert rows.filter(pl.col("start") < SPAN["start"]).is_empty()
        assert rows["bars"].sum() == 3
    assert seen == [[("lost", 1)], [("lost", 2)], [("unfillable", 2)], [("unfillable", 2)]]
    evidence = json.loads(rows["evidence"][0])
    assert evidence["rule"] == "refused"
    assert "does not enclose" in evidence["because"]
    assert "3 spaced attempts" in evidence["because"]
    # everything beside it is there, and the hole is not asked for any more
    stored = bench.store.reader.read(["BTC-USDT"], Timeframe.M1, DAY, NOW)
    assert stored.height == (NOW - DAY) // timedelta(minutes=1) - 3
    assert bench.run(lambda pipeline: pipeline.backfill(timeframes=[Timeframe.M1])).of(Timeframe.M1).planned == 0
