"""Bars from recorded trades, and the outages that recorded bars show: straight from the files.

Guards I3 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline.market import (
    TRADE_SCHEMA,
    UTC_MS,
    BarOrigin,
    Evidence,
    GapState,
    Timeframe,
    bars_from_trades,
    classify,
    compare_bars,
    missing_spans,
    roll_up,
    sibling_activity,
)
from crypto_pipeline.market.gaps.evidence import WITNESS_SCHEMA
from crypto_pipeline_tests.realdata.conftest import read_bars

pytestmark = pytest.mark.realdata


def test_trades_make_the_recorded_minutes_and_these_the_recorded_five_minutes(recorded_data: Path) -> None:
    bars = recorded_data / "bars" / "binance_spot"
    trades = pl.read_parquet(recorded_data / "trades" / "binance_spot" / "XRP_ETH-trades-2019-10.parquet").select(
        pl.lit("XRP-ETH").alias("instrument"),
        pl.col("id").cast(pl.Int64).alias("trade_id"),
        pl.col("id").cast(pl.Int64).alias("first_id"),
        pl.col("id").cast(pl.Int64).alias("last_id"),
        pl.col("timestamp").cast(UTC_MS).alias("time"),
        "price",
        pl.col("amount").alias("quantity"),
        pl.col("side").alias("taker_side"),
    )
    assert trades.schema == pl.Schema(TRADE_SCHEMA)
    made = bars_from_trades(
        trades, Timeframe.M1, source=BarOrigin.LIVE_AGGREGATED, revision=datetime(2026, 1, 1, tzinfo=UTC)
    )
    minutes = read_bars(bars / "XRP_ETH-1m-2019-10.parquet")
    assert made.height == minutes.height == 2_469
    assert compare_bars(made.drop("complete"), minutes).is_empty()
    fives = read_bars(bars / "XRP_ETH-5m-2019-10.parquet")
    assert fives.height == 706
    assert compare_bars(roll_up(minutes, Timeframe.M5), fives).is_empty()


def test_the_outage_of_april_2021_is_the_venues_because_everyone_is_silent(recorded_data: Path) -> None:
    files = sorted((recorded_data / "bars" / "binance_spot").glob("*_*-1m-2021-04.parquet"))
    start, end = datetime(2021, 4, 25, tzinfo=UTC), datetime(2021, 4, 26, tzinfo=UTC)
    inside = pl.col("open_time").is_between(start, end, closed="left")
    day = pl.concat([read_bars(file).filter(inside).select("instrument", "open_time") for file in files])
    names = day["instrument"].unique().sort().to_list()
    first_minutes = set()
    for name in names:
        (hole,) = missing_spans([(start, end)], day.filter(instrument=name)["open_time"], Timeframe.M1)
        first_minutes.add((name, hole[0]))
        assert hole[1] == datetime(2021, 4, 25, 8, 45, tzinfo=UTC)
        evidence = Evidence(
            settled_until=datetime(2021, 5, 1, tzinfo=UTC),
            states_empty_bars=True,
            witnesses=pl.DataFrame([(start, end, 1.0)] * (len(names) - 1), schema=WITNESS_SCHEMA, orient="row"),
            sibling_bars=sibling_activity(day, name, Timeframe.M1, start, end),
        )
        verdicts = classify(hole, Timeframe.M1, evidence)
        assert {one.state for one in verdicts} == {GapState.VENUE_OUTAGE}
    late = {name for name, minute in first_minutes if minute.minute == 2}
    assert late == {"LTC-USDT", "XRP-USDT"}, "two pairs still had 04:01"
    assert {minute.minute for _, minute in first_minutes} == {1, 2}
