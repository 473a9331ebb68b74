"""Live rows: written once per close from what is known then, equal to history, put right by history afterwards.

Guards I6 (docs/invariants.md).
"""

from __future__ import annotations

import json
import math
from datetime import timedelta

import polars as pl
import pytest

from crypto_pipeline.features.compute import NAMES, ROW_SCHEMA
from crypto_pipeline.features.leaks import compare, spreads
from crypto_pipeline.features.stored.checks import CHECKS, Sample, _Span, verify_features
from crypto_pipeline.features.stored.live import live_step
from crypto_pipeline.features.stored.update import Universe, bring_up_to_date, features_as_of, stale_days
from crypto_pipeline.market import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.feature_market import START, minutes, rolled_up, stock

THREE = ("BTC-USDT", "ADA-USDT", "ETH-USDT")
DAYS = 12
DAY = START + timedelta(days=DAYS - 1)
WIDTH = timedelta(minutes=15)


@pytest.fixture
def market(store: Store) -> pl.DataFrame:
    """Bars up to the last day's noon are stored; the frame has all of that day."""
    whole = minutes(THREE, DAYS)
    noon = DAY + timedelta(hours=12)
    stock(store, whole.filter(pl.col("open_time") < noon))
    bring_up_to_date(store, START, noon, now=noon)
    return whole.filter(pl.col("open_time") >= noon)


def feed(store: Store, bars: pl.DataFrame) -> None:
    store.bars.write(bars, Timeframe.M1)
    rolled_up(store, bars)


def test_every_close_gets_its_rows_once_and_they_equal_history(store: Store, market: pl.DataFrame) -> None:
    closes = [DAY + timedelta(hours=12) + WIDTH * number for number in range(1, 9)]
    for close in closes:
        feed(store, market.filter(pl.col("open_time").is_between(close - WIDTH, close, closed="left")))
        assert live_step(store, close + timedelta(seconds=3)).rows == len(THREE)
        assert live_step(store, close + timedelta(seconds=60)).rows == 0
    begin, end = DAY + timedelta(hours=12), closes[-1]
    wrote = store.features.read(THREE, begin, end, live=True)
    assert wrote.height == len(THREE) * len(closes)
    # At 16:00 a 4h bar closes: the row of that close must know it already, and does.
    history = features_as_of(store, THREE, begin, end)
    assert compare(history, wrote, spreads(history), 1e-6).is_empty()
    parity = verify_features(store, DAY, end, now=end, names=["parity"])[0]
    assert parity.passed, parity.offenders
    assert "8 closes" in parity.summary or "6 closes" in parity.summary

    # A minute that comes late: the row stays as it was served; history puts the day right, and parity still holds.
    late = market.filter((pl.col("open_time") == begin + timedelta(minutes=14)) & (pl.col("instrument") == "ETH-USDT"))
    feed(store, late.with_columns(pl.col("close") * 1.01, pl.col("high") * 1.02, revision=pl.col("revision") + WIDTH))
    served = store.features.read(THREE, begin, end, live=True)
    assert served.equals(wrote)
    tomorrow = DAY + timedelta(days=1)
    universe = Universe.from_store(store)
    assert stale_days(store, universe, universe.instruments, DAY.date(), DAY.date()).height == len(THREE)
    bring_up_to_date(store, DAY, tomorrow, now=end)
    stored = store.features.read(THREE, begin, end).select(*ROW_SCHEMA)
    truth = features_as_of(store, THREE, begin, end)
    assert compare(truth, stored, spreads(truth), 1e-7).is_empty()
    assert not compare(stored, wrote, spreads(truth), 1e-6).is_empty()
    assert verify_features(store, DAY, end, now=end, names=["parity"])[0].passed


def test_a_row_that_was_tampered_with_fails_parity_and_every_check_has_its_say(
    store: Store, market: pl.DataFrame
) -> None:
    close = DAY + timedelta(hours=12, minutes=15)
    feed(store, market.filter(pl.col("open_time") < close))
    live_step(store, close)
    outcomes = verify_features(store, START, close, now=close, seed=5)
    assert [one.name for one in outcomes] == list(CHECKS)
    assert [one.name for one in outcomes if not one.passed] == []
    store.connections.run(
        lambda connection: connection.execute(
            "UPDATE research.ml_features_live SET rsi_14 = rsi_14 + 0.01 WHERE instrument_id = 1"
        ) and None
    )  # fmt: skip
    failed = verify_features(store, START, close, now=close, names=["parity"])[0]
    assert not failed.passed
    assert failed.offenders["feature"].to_list() == ["rsi_14"]
    elsewhere = {"start": START, "end": START + timedelta(days=1), "now": close, "names": ["parity"]}
    assert verify_features(store, **elsewhere)[0].passed, "there the live path wrote nothing"
    told = Sample.from_detail(json.loads(json.dumps(failed.detail)))
    assert told is not None
    still = verify_features(store, **elsewhere, failed_on={"parity": told})[0]
    assert not still.passed, "other rows that are right say nothing of those that were wrong"
    assert Sample.from_detail(still.detail) == told
    for column, other in (
        ("regime", "coalesce(regime, 0) - 1"), ("stress", "coalesce(stress, 0) - 1"), ("eligible", "NOT eligible"),
        ("available_at", "available_at + interval '1 ms'"),
    ):  # fmt: skip
        tampered = f"UPDATE research.ml_features_live SET {column} = {other}"
        store.connections.run(lambda connection, what=tampered: connection.execute(what) and None)
        found = verify_features(store, START, close, now=close, names=["parity"])[0].offenders["feature"].to_list()
        assert column in found


def test_the_leak_check_looks_at_who_has_gaps_and_who_is_new(store: Store) -> None:
    names = [f"{letter}AA-USDT" for letter in "ABCDEFGHIJKLMNOPQRST"]
    whole = minutes(["BTC-USDT", *names], 5)
    name, opened = pl.col("instrument"), pl.col("open_time")
    hole = (name == "KAA-USDT") & opened.is_between(START + timedelta(days=2), START + timedelta(days=2, hours=1))
    unlisted = (name == "TAA-USDT") & (opened < START + timedelta(days=3))
    stock(store, whole.filter(~hole & ~unlisted))
    store.connections.run(
        lambda connection: (
            connection.execute("UPDATE market.coverage SET expected = 96 WHERE timeframe = '15m'") and None
        )
    )
    end = START + timedelta(days=5)
    span = _Span(store, Universe.from_store(store), START, end, end, seed=1)
    assert not {"KAA-USDT", "TAA-USDT"} & set(span.sample())
    assert set(span.sample_with_edges()) == {*span.sample(), "KAA-USDT", "TAA-USDT"}


def test_a_batch_pass_keeps_live_rows_that_came_meanwhile(store: Store, market: pl.DataFrame) -> None:
    first, second = DAY + timedelta(hours=12, minutes=15), DAY + timedelta(hours=12, minutes=30)
    feed(store, market.filter(pl.col("open_time") < second))
    assert live_step(store, second).rows == 2 * len(THREE)
    # it began before the second close and ends after it
    bring_up_to_date(store, DAY, second, now=first)
    rows = store.features.read(THREE, DAY, second)
    assert rows.height == len(THREE) * 50
    cells = store.features.cells.read(THREE, DAY.date(), DAY.date())
    assert cells["rows"].to_list() == [50] * len(THREE)
    assert set(NAMES) <= set(rows.columns)
    assert not any(math.isnan(value) for value in rows["rsi_14"].drop_nulls())
