"""The whole path over real sockets: what ends up stored equals the exchange's own tape, in every timeframe.

Guards I3, I4 and I7 (docs/invariants.md).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import polars as pl
import pytest

from crypto_pipeline.healing.checks.freshness import Thresholds
from crypto_pipeline.healing.checks.stored_bars import checks_of, verify
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.market import Timeframe
from crypto_pipeline_tests.healing.conftest import NOW, Bench

VALUES = ["open", "high", "low", "close"]
SYMBOLS = ("BTC-USDT", "ETH-USDT", "STRK-USDT", "HIPPO-USDT", "TREMP-USDT")


def stored(bench: Bench, symbol: str, timeframe: Timeframe) -> pl.DataFrame:
    horizon = Horizon.of(NOW, 3, 5)
    return bench.store.reader.read([symbol], timeframe, horizon.first_open(timeframe), horizon.settled_end(timeframe))


def tape(bench: Bench, symbol: str, timeframe: Timeframe) -> pl.DataFrame:
    horizon = Horizon.of(NOW, 3, 5)
    first, last = horizon.first_open(timeframe), horizon.settled_end(timeframe)
    return bench.exchange.market.bars(symbol.replace("-", ""), timeframe, first, last)


def test_backfill_equals_the_tape_in_every_timeframe(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(instruments="BTCUSDT,ETHUSDT,STRKUSDT,HIPPOUSDT,TREMPUSDT")
    bench.collect(*SYMBOLS)
    report = bench.run(lambda pipeline: pipeline.backfill())
    assert not report.problems
    for symbol in SYMBOLS:
        for timeframe in Timeframe:
            ours, true = stored(bench, symbol, timeframe), tape(bench, symbol, timeframe)
            assert ours["open_time"].to_list() == true["open_time"].to_list(), (symbol, timeframe)
            assert ours.select(VALUES).equals(true.select(VALUES)), (symbol, timeframe)
            volumes = (ours["volume"] - true["volume"]).abs() <= 1e-9 * true["volume"]
            assert volumes.all(), (symbol, timeframe)
            counts = ours["trade_count"].to_list()
            assert counts == true["trade_count"].to_list(), (symbol, timeframe)


def test_a_second_pass_has_nothing_to_do(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(instruments="BTCUSDT,ETHUSDT,STRKUSDT,HIPPOUSDT,TREMPUSDT")
    bench.collect(*SYMBOLS)
    bench.run(lambda pipeline: pipeline.backfill())
    again = bench.run(lambda pipeline: pipeline.backfill())
    assert again.nothing_to_do, again.as_dict()


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_all_checks_pass_after_a_backfill(make_bench: Callable[..., Bench], timeframe: Timeframe) -> None:
    bench = make_bench(instruments="BTCUSDT,ETHUSDT")
    bench.collect("BTC-USDT", "ETH-USDT")
    bench.run(lambda pipeline: pipeline.backfill())
    outcomes = bench.run(lambda pipeline: pipeline.verify(timeframe, NOW - timedelta(days=3), NOW))
    assert [outcome for outcome in outcomes if not outcome.passed] == []
    assert {outcome.name for outcome in outcomes} == set(checks_of(timeframe))


def test_minutes_that_ended_since_a_pass_began_are_not_of_the_future(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(instruments="BTCUSDT")
    bench.collect("BTC-USDT")
    bench.run(lambda pipeline: pipeline.backfill())
    thresholds = Thresholds.of(bench.settings)
    minute = timedelta(minutes=1)

    def passed(horizon_at: datetime, clock_at: datetime) -> bool:
        """With a pass that began at the first, and the market's clock at the second."""
        bench.store.clock.learn("replay", clock_at)
        horizon = Horizon.of(horizon_at, 3, 5)
        outcomes = verify(bench.store, Timeframe.M1, horizon.start, horizon_at, horizon, thresholds)
        return next(one.passed for one in outcomes if one.name == "no_future_bars")

    assert passed(NOW - minute, NOW)
    assert not passed(NOW - 5 * minute, NOW - 5 * minute)
