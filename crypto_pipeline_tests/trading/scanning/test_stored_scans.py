"""Passes over stored bars: every bar is scanned once and in order, by a live pass as in a span."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import polars as pl
import pytest

from crypto_pipeline.labels.strategies.base import WARM_UP
from crypto_pipeline.market import Instrument
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.trading.scanning.scan import SCAN_SCHEMA
from crypto_pipeline.trading.stored.scans import scan_pass, scan_span
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.feature_market import minutes
from crypto_pipeline_tests.builders.label_market import START, TIERS, write

DAYS = 9
#: Monday 00:00 UTC is inside of the span that is scanned bar by bar.
QUARTER = timedelta(minutes=15)
SETTINGS = Settings(
    label_parameters={
        "default": {
            "dca": {"fall": 0.002, "volume_ratio": 0.5, "rsi_max": 60, "spacing": 6},
            "swing": {"breakout": -0.01, "volume_ratio": 0.8, "rsi_min": 30, "rsi_max": 90},
            "channel": {
                "touches": 1,
                "containment": 0.8,
                "position_max": 0.4,
                "reward_to_risk": 0.3,
                "width_min": 0.002,
            },
        }
    }
)
BEGIN = START + WARM_UP * QUARTER
END = START + timedelta(days=DAYS)


ROWS = len(TIERS) * 3


@pytest.fixture(scope="module")
def store(new_database: NewDatabase) -> Iterator[Store]:
    with new_database("scanned_market") as url, Store(url) as made:
        made.instruments.add([Instrument.crypto(symbol, tier) for symbol, tier in TIERS.items()])
        write(made, minutes(tuple(TIERS), DAYS, seed=3, start=START))
        days = pl.date_range(START, END, closed="left", eager=True)
        made.coverage.set_expected_alike(list(TIERS), pl.DataFrame({"day": days, "timeframe": "15m", "expected": 96}))
        made.clock.learn("replay", END)
        yield made


def stored(store: Store, start: datetime, end: datetime) -> pl.DataFrame:
    return store.trading.scans.read(start, end).select(SCAN_SCHEMA.keys())


def by_key(scans: pl.DataFrame) -> pl.DataFrame:
    return scans.sort("signal_ts", "strategy", "instrument")


def differing(one: pl.DataFrame, other: pl.DataFrame) -> list[str]:
    assert one.height == other.height
    return [name for name in SCAN_SCHEMA if not one[name].equals(other[name], null_equal=True)]


def test_bars_are_scanned_in_order_and_once_and_as_in_a_span(store: Store) -> None:
    live = END - 7 * QUARTER
    first = scan_pass(store, SETTINGS, live)
    assert (first.start, first.until) == (BEGIN, live)
    assert first.takes > 10
    for bar in range(7):  # each as it closes
        opened = live + bar * QUARTER
        now = opened + QUARTER + timedelta(seconds=20)
        step = scan_pass(store, SETTINGS, now)
        assert (step.start, step.until, step.scans) == (opened, opened + QUARTER, ROWS)
        assert scan_pass(store, SETTINGS, now).scans == 0
    span = scan_span(store, SETTINGS, BEGIN, END)
    assert differing(stored(store, BEGIN, END), by_key(span)) == []
    assert span.height == first.scans + 7 * ROWS
    for start in (BEGIN + timedelta(days=3), END - 3 * QUARTER):  # whatever the span begins with
        part = scan_span(store, SETTINGS, start, END)
        assert differing(part, span.filter(pl.col("signal_ts") >= start)) == []
    assert set(span["stress"].drop_nulls()) >= {0}
