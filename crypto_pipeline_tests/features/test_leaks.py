"""The leak check finds six planted leaks, each alone; the shipped features pass, on generated and on recorded bars.

Guards I5 (docs/invariants.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache

import polars as pl
import pytest

from crypto_pipeline.features.compute import FEATURES, NAMES, ROW_SCHEMA, STATES, Bars, Compute, compute_features
from crypto_pipeline.features.definitions.feature import Feature
from crypto_pipeline.features.fresh_process import FreshProcessError, in_fresh_process
from crypto_pipeline.features.leaks import KEYS, cut_times, leak_check, warm_up_check
from crypto_pipeline.market import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders import leaking
from crypto_pipeline_tests.builders.feature_market import START, bars_of, minutes
from crypto_pipeline_tests.builders.recorded_bars import OUTAGE, THIN, recorded_market

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


@pytest.mark.parametrize("column", ["regime", "stress", "eligible", "available_at"])
def test_a_leak_in_a_column_that_is_no_number_is_found(column: str) -> None:
    proof = leak_check(market(), getattr(leaking, column), START, END, seed=3)
    assert proof.findings["feature"].to_list() == [column]


def gappy() -> Bars:
    """One instrument lacks some stretches, another is listed on the third day."""
    opened, name = pl.col("open_time"), pl.col("instrument")
    absent = (name == "ADA-USDT") & opened.is_between(
        START + timedelta(days=4, hours=5), START + timedelta(days=4, hours=6)
    )
    unlisted = (name == "ETH-USDT") & (opened < START + timedelta(days=2, hours=9, minutes=30))
    return {timeframe: frame.filter(~absent & ~unlisted) for timeframe, frame in market().items()}


@pytest.mark.parametrize("rows", ["at_midnight", "at_full_hours", "after_gaps", "after_listing"])
@pytest.mark.parametrize("seed", [0, 17])
def test_a_leak_in_few_rows_only_is_found_whatever_the_seed(rows: str, seed: int) -> None:
    proof = leak_check(gappy(), getattr(leaking, rows), START, END, seed=seed)
    assert proof.cuts <= 12
    assert proof.findings["feature"].to_list() == ["lr_1" if rows == "after_listing" else "lr_4"]


def test_every_kind_of_row_is_cut_right_after_its_close() -> None:
    quarters = gappy()[Timeframe.M15]
    times = quarters["open_time"].unique().sort()
    slots = set()
    for seed in range(100, 130):
        opened = [moment - Timeframe.M15.delta for moment in cut_times(quarters, START, END, 12, seed)]
        assert opened == sorted(set(opened))
        assert len(opened) <= 12
        minutes_of_day = [one.hour * 60 + one.minute for one in opened]
        assert min(opened) < times[60]
        assert 0 in minutes_of_day
        assert any(one % 60 == 0 and one for one in minutes_of_day)
        assert any(one % 240 == 225 for one in minutes_of_day)  # closes with a 4h bar
        assert START + timedelta(days=4, hours=6, minutes=15) in opened  # the first after the gap
        assert any(timedelta(0) <= one - START - timedelta(days=2, hours=9, minutes=30) < timedelta(hours=1)
                   for one in opened)  # just listed  # fmt: skip
        slots |= set(minutes_of_day)
    assert len(slots) == 96
    assert cut_times(quarters.clear(), START, END, 12, 0) == []


def test_what_a_module_remembers_shows_in_a_fresh_process() -> None:
    begin = END - timedelta(days=2)
    seen = leak_check(market(), leaking.remembering, begin, END, cuts=4, seed=3)
    assert seen.passed  # here the cuts are answered from memory
    proof = leak_check(market(), leaking.remembering, begin, END, cuts=4, seed=3, fresh=True)
    assert proof.findings["feature"].to_list() == ["lr_4"]
    assert proof.cuts == seen.cuts


def test_a_fresh_process_that_fails_says_why() -> None:
    assert in_fresh_process(math.hypot, 3.0, 4.0) == 5.0
    with pytest.raises(FreshProcessError, match="math domain error"):
        in_fresh_process(math.sqrt, -1.0)


def test_no_stored_column_escapes_the_checks(store: Store) -> None:
    stored = set(store.features.columns) - {"instrument_id", "open_time"}
    bars = market()
    assert set(leak_check(bars, leaking.honest, START, END, cuts=1).columns) == stored
    assert set(warm_up_check(bars, leaking.honest, END, times=(1,)).columns) == stored
    # Parity compares the columns of ROW_SCHEMA that the live path wrote.
    assert set(ROW_SCHEMA) - set(KEYS) == stored
    # And every column has a warm-up of its own, besides what is compared for all of them.
    assert {one.name for one in (*FEATURES, *STATES)} == stored - {"available_at"}


@pytest.mark.parametrize("column", ["eligible", "stress"])
def test_a_warm_up_of_a_state_declared_too_short_is_found(column: str) -> None:
    short = [Feature(column, "state", 24, "declared too short")]
    assert warm_up_check(market(), leaking.honest, END, short, times=(1,)).findings["feature"].to_list() == [column]


def test_a_column_that_declares_nothing_must_do_with_what_is_read() -> None:
    def compute(bars: Bars, start: datetime, end: datetime) -> pl.DataFrame:
        first = bars[Timeframe.M15]["open_time"].min()
        return leaking.honest(bars, start, end).with_columns(age=pl.col("open_time") - first)

    assert warm_up_check(bars_of(minutes(NAMES_USED[:2], 20)), compute, START + timedelta(days=20),
                         times=(1,)).findings["feature"].to_list() == ["age"]  # fmt: skip


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
