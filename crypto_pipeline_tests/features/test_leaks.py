"""The leak check finds six planted leaks, each alone; the shipped features pass, on generated and on recorded bars."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache

import polars as pl
import pytest

from crypto_pipeline.features.compute import FEATURES, NAMES, Bars, Compute, compute_features
from crypto_pipeline.features.leaks import leak_check, warm_up_check
from crypto_pipeline.features.registry import Feature
from crypto_pipeline.market import Timeframe
from crypto_pipeline_tests.features.market import START, bars_of, minutes
from crypto_pipeline_tests.features.recorded import OUTAGE, THIN, recorded_market

DAYS = 11
NAMES_USED = ("BTC-USDT", "ADA-USDT", "ETH-USDT")
END = START + timedelta(days=DAYS)


@lru_cache(maxsize=1)
def market() -> Bars:
    return bars_of(minutes(NAMES_USED, DAYS))


def honest(benchmark: str) -> Compute:
    return lambda bars, start, end: compute_features(bars, start, end, benchmark=benchmark)


def planted(leak: Callable[[pl.DataFrame, Bars], pl.DataFrame]) -> list[str]:
    """The features that the check accuses when one leaking column stands beside the honest ones."""

    def compute(bars: Bars, start: datetime, end: datetime) -> pl.DataFrame:
        return leak(compute_features(bars, start, end, benchmark="BTC-USDT"), bars)

    proof = leak_check(market(), compute, START, END, seed=3)
    assert proof.cuts > 8
    return proof.findings["feature"].to_list()


def test_a_wider_bar_joined_before_it_closed_is_found() -> None:
    def leak(rows: pl.DataFrame, bars: Bars) -> pl.DataFrame:
        hours = bars[Timeframe.H1].select(
            "instrument", pl.col("open_time").alias("hour"), pl.col("close").alias("leak")
        )
        there = rows.with_columns(hour=pl.col("open_time").dt.truncate("1h"))
        return there.join(hours, on=["instrument", "hour"], how="left", maintain_order="left").drop("hour")

    assert planted(leak) == ["leak"]


def test_a_row_shifted_from_the_future_is_found() -> None:
    assert planted(lambda rows, _: rows.with_columns(leak=pl.col("lr_1").shift(-1).over("instrument"))) == ["leak"]


def test_a_centred_window_is_found() -> None:
    mean = pl.col("lr_1").rolling_mean(16, center=True, min_samples=8).over("instrument")
    assert planted(lambda rows, _: rows.with_columns(leak=mean)) == ["leak"]


def test_a_z_score_over_all_rows_is_found() -> None:
    z = (pl.col("lr_96") - pl.col("lr_96").mean().over("instrument")) / pl.col("lr_96").std().over("instrument")
    assert planted(lambda rows, _: rows.with_columns(leak=z)) == ["leak"]


def test_a_rank_over_the_whole_series_is_found() -> None:
    rank = pl.col("lr_4").rank().over("instrument") / pl.col("lr_4").count().over("instrument")
    assert planted(lambda rows, _: rows.with_columns(leak=rank)) == ["leak"]


def test_a_backward_fill_is_found() -> None:
    filled = pl.col("lr_96").fill_null(strategy="backward").over("instrument")
    assert planted(lambda rows, _: rows.with_columns(leak=filled)) == ["leak"]


def test_generated_bars_raise_no_false_alarm() -> None:
    proof = leak_check(market(), honest("BTC-USDT"), START, END, cuts=20)
    assert proof.passed, proof.findings
    assert proof.cells > 1_000_000
    bars = bars_of(minutes(NAMES_USED[:2], days=44))
    warm = warm_up_check(bars, honest("BTC-USDT"), START + timedelta(days=44), times=(1, 2))
    assert warm.passed, warm.findings
    assert warm.cuts > 20


@pytest.mark.realdata
@pytest.mark.parametrize(("names", "days", "benchmark"), [(OUTAGE, 20, "BTC-USDT"), (THIN, 45, "BTC-USD")])
def test_recorded_bars_raise_no_false_alarm(names: tuple[tuple[str, str], ...], days: int, benchmark: str) -> None:
    bars = recorded_market(names, days)
    begin = bars[Timeframe.M15]["open_time"].min()
    assert isinstance(begin, datetime)
    end = begin + timedelta(days=days)
    proof = leak_check(bars, honest(benchmark), begin, end, cuts=6)
    assert proof.passed, proof.findings
    warm = warm_up_check(bars, honest(benchmark), end - timedelta(hours=1), times=(1, 4))
    assert warm.passed, warm.findings
    assert warm.cuts > 10
    # Every feature that is warm within the recording has values, and none is anything but a number.
    rows = compute_features(bars, begin, end, benchmark=benchmark)
    assert rows.select(pl.col(NAMES).is_nan().any() | pl.col(NAMES).is_infinite().any()).row(0) == (False,) * len(NAMES)
    warm_names = [one.name for one in FEATURES if one.warm_up * one.timeframe.delta < timedelta(days=days)]
    assert all(rows[name].count() > 0.2 * rows.height for name in warm_names if not name.endswith("4h"))


def test_a_warm_up_declared_too_short_is_found() -> None:
    short = [Feature("ema_96", "trend", 300, "declared too short"), Feature("rv_96", "volatility", 60, "too short")]
    proof = warm_up_check(market(), honest("BTC-USDT"), END, short, times=(1,))
    assert proof.findings["feature"].sort().to_list() == ["ema_96", "rv_96"]
