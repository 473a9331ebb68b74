"""Labels equal an independent, deliberately simple reference in every field.

CRYPTO_PIPELINE_TEST_EVENTS=20000 (or more) compares at least so many events; the default is what CI has time for.

Guards I5 (docs/invariants.md).
"""

from __future__ import annotations

import os
import random
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crypto_pipeline.labels.compute import find_setups
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Timeframe, roll_up_all
from crypto_pipeline_tests.builders.label_market import START, minutes
from crypto_pipeline_tests.labels.comparison import NAME, SETS, Tally, compare, context_of, panel_of
from crypto_pipeline_tests.realdata.conftest import read_bars

EVENTS = int(os.environ.get("CRYPTO_PIPELINE_TEST_EVENTS", "0"))


def quarters_and_hours(bars: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    rolled = roll_up_all(bars)
    return rolled[Timeframe.M15], rolled[Timeframe.H1]


def spoil(bars: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Jumps between minutes, minutes in which nothing traded (flat, now and then far off), and minutes missing."""
    rng = np.random.default_rng(seed)
    count = bars.height
    kept = rng.random(count) > 0.0005
    for start in rng.integers(0, count, max(1, count // 12_000)):
        kept[start : start + int(rng.integers(20, 400))] = False
    jumps = np.exp(np.cumsum(np.where(rng.random(count) < 0.0012, rng.normal(0, 0.03, count), 0.0)))
    prices = [(pl.col(name) * pl.Series(jumps)).alias(name) for name in ("open", "high", "low", "close")]
    quiet = pl.Series(rng.random(count) < 0.05)
    off = pl.col("close").shift(1, fill_value=bars["close"][0]) * pl.Series(np.where(rng.random(count) < 0.2, 0.9, 1.0))
    flat = [pl.when(quiet).then(off).otherwise(name).alias(name) for name in ("open", "high", "low", "close")]
    idle = pl.when(quiet).then(0.0).otherwise("volume").alias("volume")
    return bars.with_columns(prices).with_columns(*flat, idle).filter(pl.Series(kept))


def test_generated_markets_with_jumps_and_holes() -> None:
    tally, seed = Tally(), 0
    market = quarters_and_hours(minutes("BTC-USDT", 16, 100))[0]
    while tally.total < max(EVENTS // 2, 3000):
        bars = spoil(minutes("ARB-USDT", 16, seed), seed)
        quarters, hours = quarters_and_hours(bars)
        # Minutes that are kept for a part of the time only, and bars that lack although their minutes are there.
        some = bars.filter(pl.col("open_time").dt.day() % 5 != 0)
        holes = quarters.sample(fraction=0.995, seed=seed).sort("open_time")
        gaps = market.sample(fraction=0.995, seed=seed + 1).sort("open_time")
        compare(some, holes, hours, gaps, random.Random(seed).choice(["large", "mid", "meme"]), tally)
        seed += 1
    print(tally)
    for strategy in ("dca", "swing", "channel"):
        assert tally.events[strategy] >= 100, tally
    for kind in (
        "TP", "SL", "TIME", "unfinished", "ambiguous minutes", "ambiguous assumed", "gap through a barrier",
        "bars missing on the way",
    ):  # fmt: skip
        assert tally.kinds[kind] >= 20, tally


def test_the_first_setup_of_a_series_needs_its_warm_up() -> None:
    bars = minutes("ARB-USDT", 16, 3)
    quarters, hours = quarters_and_hours(bars)
    market = quarters_and_hours(minutes("BTC-USDT", 16, 100))[0]
    panel = panel_of(quarters, START, START + timedelta(days=16))
    context = context_of(market, hours, START, START + timedelta(days=16))
    for strategy in (Strategy.DCA, Strategy.CHANNEL):
        parameters = SETS["wide"][strategy]
        for place in find_setups(strategy, panel, context, parameters, {NAME: "mid"})["place"].to_list()[10:13]:
            for cut, there in ((place - 400, True), (place - 399, False)):
                tally = Tally()
                compare(bars, quarters.slice(cut), hours, market, "mid", tally, ("wide",), (strategy,))
                late = panel_of(quarters.slice(cut), START, START + timedelta(days=16))
                found = find_setups(strategy, late, context, parameters, {NAME: "mid"})["place"].to_list()
                assert (place in found) == there


@pytest.mark.realdata
def test_recorded_markets(recorded_data: Path) -> None:
    tally = Tally()
    folder = recorded_data / "bars" / "binance_spot"
    market = quarters_and_hours(read_bars(folder / "BTC_USDT-1m-2021-04.parquet"))[0]
    names = ["DOGE_USDT", "ETH_USDT", "XRP_USDT", "ADA_USDT", "LTC_USDT", "LINK_USDT", "BCH_USDT", "BRD_BTC", "ETH_BTC"]
    for place, name in enumerate(names):
        bars = read_bars(folder / f"{name}-1m-2021-04.parquet").sort("open_time")
        if not EVENTS:  # around the outage of 2021-04-25
            bars = bars.filter(pl.col("open_time").is_between(bars["open_time"].min(), _day(bars, 9)))
        quarters, hours = quarters_and_hours(bars)
        compare(bars, quarters, hours, market, ("large", "mid", "meme")[place % 3], tally)
        if tally.total >= max(EVENTS // 2, 1500):
            break
    print(tally)
    assert tally.total >= max(EVENTS // 2, 1500)
    assert tally.kinds["bars missing on the way"] > 0


def _day(bars: pl.DataFrame, days: int) -> pl.Series:
    return bars["open_time"].min() + timedelta(days=days)  # type: ignore[operator, return-value]
