"""Nulls, ranges and drift against a feature's own past: what is as before passes, what is planted is named."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from crypto_pipeline.features import drift
from crypto_pipeline.features.compute import NAMES
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline_tests.builders.feature_market import START

DAYS = 60
NOW = START + timedelta(days=DAYS - 3)


def rows(seed: int = 1) -> pl.DataFrame:
    """Hourly rows of two instruments: slow features (autocorrelation 0.99) inside of their bounds, some null."""
    rng = np.random.default_rng(seed)
    count = DAYS * 24
    parts = []
    for instrument in ("BTC-USDT", "ETH-USDT"):
        slow = np.zeros((count, len(NAMES)))
        noise = rng.normal(0, 0.14, slow.shape)
        for step in range(1, count):
            slow[step] = 0.99 * slow[step - 1] + noise[step]
        values = {}
        for place, name in enumerate(NAMES):
            low, high = drift.BOUNDS.get(name, (-1e9, 1e9))
            middle = low + 1.0 if high > 1e8 else (low + high) / 2
            width = 0.1 if high > 1e8 else (high - low) / 20
            column = middle + width * slow[:, place]
            values[name] = np.where(rng.random(count) < 0.01, np.nan, column)
        opens = pl.Series(int(START.timestamp() * 1000) + 3_600_000 * np.arange(count)).cast(UTC_MS)
        parts.append(pl.DataFrame({"instrument": [instrument] * count, "open_time": opens, **values}))
    return pl.concat(parts).with_columns(pl.col(NAMES).fill_nan(None))


def split(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    new = pl.col("open_time") >= NOW
    return frame.filter(~new), frame.filter(new)


def test_what_is_as_before_passes() -> None:
    history, now = split(rows())
    assert drift.null_shares(history, now).is_empty()
    assert drift.out_of_range(history, now).is_empty()
    short = history.filter(pl.col("open_time") >= NOW - timedelta(days=3))
    assert drift.null_shares(short, now.with_columns(lr_1=None)).is_empty(), "too little history to judge"


def test_a_hole_makes_no_alarm_of_range_or_nulls() -> None:
    history, now = split(rows())
    # Most of the span lies beside a hole: null there, and extreme in what little is computed.
    beside = pl.int_range(pl.len()) < pl.len() * 9 // 10
    extreme = pl.int_range(pl.len()) < 2
    holed = now.with_columns(
        eligible=~beside,
        lr_96=pl.when(extreme).then(1e6).when(beside).then(None).otherwise(pl.col("lr_96")),
    )
    assert drift.out_of_range(history, holed).is_empty()
    assert drift.null_shares(history, holed).is_empty()
    assert drift.out_of_range(history, holed.with_columns(eligible=True))["feature"].to_list() == ["lr_96"]
    assert drift.null_shares(history, holed.with_columns(eligible=True))["feature"].to_list() == ["lr_96"]


def test_more_nulls_than_ever_are_named() -> None:
    history, now = split(rows())
    holes = pl.when(pl.int_range(pl.len()) % 4 > 0).then(pl.col("rv_96")).alias("rv_96")
    found = drift.null_shares(history, now.with_columns(holes))
    assert found["feature"].to_list() == ["rv_96"]
    assert found["found"][0] > 0.2 > found["allowed"][0]


def test_values_outside_of_formula_or_history_are_named() -> None:
    history, now = split(rows())
    first = pl.int_range(pl.len()) == 0
    found = drift.out_of_range(
        history,
        now.with_columns(
            rsi_14=pl.when(first).then(101.0).otherwise("rsi_14"),  # once is enough: it cannot be
            macd=pl.col("macd") * 1e6 + 1e6,
            lr_4=pl.when(first).then(1e3).otherwise("lr_4"),  # once may happen
        ),
    )
    assert found["feature"].to_list() == ["macd", "rsi_14"]
    assert found.filter(feature="rsi_14")["found"].to_list() == [101.0]


def test_drift_is_judged_by_each_features_own_past() -> None:
    frame = rows()
    last = (START + timedelta(days=DAYS - 1)).date()
    calm = drift.drift(frame, last)
    assert calm["threshold"].null_count() == 0
    # Slow features have a PSI far above the usual 0.25 every week; few are above what is usual for them.
    assert calm["psi"].median() > 0.25  # type: ignore[operator]
    assert calm["drifted"].sum() <= 0.1 * len(NAMES)
    week = pl.col("open_time") >= START + timedelta(days=DAYS - 7)
    moved = frame.with_columns(pl.when(week).then(pl.col("lr_4") + 20).otherwise("lr_4").alias("lr_4"))
    found = drift.drift(moved, last).filter("drifted")
    assert "lr_4" in found["feature"].to_list()
    early = frame.filter(pl.col("open_time") < START + timedelta(days=20))
    young = drift.drift(early, (START + timedelta(days=19)).date())
    assert young["threshold"].null_count() == len(NAMES)
    assert not young["drifted"].any()


def test_correlation_is_pearsons_over_known_pairs() -> None:
    frame = rows().with_columns(lr_4=pl.col("lr_1") * -2)
    names, matrix = drift.correlation(frame)
    place = {name: number for number, name in enumerate(names)}
    assert matrix[place["lr_1"], place["lr_4"]] < -1 + 1e-12
    both = frame.select("rsi_14", "macd").drop_nulls()
    expected = np.corrcoef(both["rsi_14"], both["macd"])[0, 1]
    assert abs(matrix[place["rsi_14"], place["macd"]] - expected) < 0.02
