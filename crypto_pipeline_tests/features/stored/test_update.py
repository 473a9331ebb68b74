"""Stored features: only stale days are computed again, exactly those, and the result is that of a fresh start.

Guards I6 and I7 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import psycopg
import pytest

from crypto_pipeline.features.compute import NAMES as FEATURES
from crypto_pipeline.features.compute import ROW_SCHEMA, compute_features
from crypto_pipeline.features.definitions.bar_series import BarSeries
from crypto_pipeline.features.definitions.bars import eligible
from crypto_pipeline.features.stored.update import (
    Universe,
    bring_up_to_date,
    features_as_of,
    first_kept_day,
    stale_days,
)
from crypto_pipeline.market import Timeframe
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.database.sessions import short_locks
from crypto_pipeline_tests.builders.feature_market import START, bars_of, minutes, rolled_up, stock

#: What recursive indicators still know of bars beyond their look-back, in deviations.
FORGOTTEN = 1e-7
THREE = ("BTC-USDT", "ADA-USDT", "ETH-USDT")


def stored(store: Store, names: tuple[str, ...], start: datetime, end: datetime) -> pl.DataFrame:
    return store.features.read(names, start, end).select(*ROW_SCHEMA)


def differences(ours: pl.DataFrame, theirs: pl.DataFrame) -> float:
    """Largest difference in deviations of the feature; keys and nulls must be the same."""
    key = ["instrument", "open_time", "available_at", "eligible", "regime", "stress"]
    assert ours.select(key).cast({"regime": pl.Int8, "stress": pl.Int8}).equals(theirs.select(key))
    worst = 0.0
    for name in FEATURES:
        a, b = ours[name], theirs[name]
        assert (a.is_null() == b.is_null()).all(), name
        spread = b.std()
        if isinstance(spread, float) and spread > 0:
            worst = max(worst, float((a - b).abs().max() or 0.0) / spread)  # type: ignore[arg-type]
    return worst


def test_a_day_of_a_few_instruments_is_stored_as_computed(store: Store) -> None:
    market = minutes(THREE, 12)
    stock(store, market)
    end = START + timedelta(days=12)
    day = START + timedelta(days=11)
    report = bring_up_to_date(store, day, end, now=end)
    assert (report.stale_cells, report.rows, report.benchmark) == (3, 3 * 96, "BTC-USDT")
    ours = stored(store, THREE, day, end)
    truth = compute_features(bars_of(market), day, end, benchmark="BTC-USDT")
    assert differences(ours, truth) < FORGOTTEN
    assert (ours["available_at"] == ours["open_time"].dt.offset_by("15m")).all()
    assert bring_up_to_date(store, day, end, now=end).stale_cells == 0
    with pytest.raises(StoreError, match="NOPE"):
        bring_up_to_date(store, day, end, ["NOPE-USDT"], now=end)


def test_features_of_the_past_are_those_of_the_bars_known_then(store: Store) -> None:
    market = minutes(THREE, 12)
    stock(store, market)
    end = START + timedelta(days=12)
    row = store.connections.run(lambda connection: connection.execute("SELECT clock_timestamp()").fetchone())
    assert row is not None
    then = features_as_of(store, ["ADA-USDT"], end - timedelta(days=2), end)
    last = (
        market.filter(pl.col("instrument") == "ADA-USDT")
        .tail(30)
        .with_columns(pl.col("close") * 0.99, pl.col("low") * 0.98, revision=pl.col("revision").dt.offset_by("1h"))
    )
    store.bars.write(last, Timeframe.M1)
    rolled_up(store, last)
    assert features_as_of(store, ["ADA-USDT"], end - timedelta(days=2), end, row[0]).equals(then)
    assert not features_as_of(store, ["ADA-USDT"], end - timedelta(days=2), end).equals(then)


def test_the_table_has_a_column_for_every_feature(store: Store) -> None:
    assert set(store.features.columns) == (set(ROW_SCHEMA) - {"instrument"}) | {"instrument_id"}
    with pytest.raises(StoreError, match="column 'nonsense'"):
        store.features.read([], START, START, ["nonsense"])


def test_a_new_instrument_changes_the_ranks_of_all(store: Store) -> None:
    stock(store, minutes(THREE, 3))
    end = START + timedelta(days=3)
    bring_up_to_date(store, START, end, now=end)
    stock(store, minutes(("SOL-USDT",), 1, start=START + timedelta(days=1)))
    universe = Universe.from_store(store)
    stale = stale_days(store, universe, universe.instruments, date(2026, 1, 1), date(2026, 1, 3))
    assert set(stale.select("instrument", "day").rows()) == {
        (name, START.date() + timedelta(days=n)) for name in THREE for n in (1, 2)
    } | {("SOL-USDT", START.date() + timedelta(days=1))}
    bring_up_to_date(store, START, end, now=end)
    four = (*THREE, "SOL-USDT")
    assert differences(stored(store, four, START, end), features_as_of(store, four, START, end)) < FORGOTTEN


def test_months_past_their_time_leave_and_live_rows_stay(store: Store) -> None:
    begin = datetime(2026, 1, 30, tzinfo=UTC)
    stock(store, minutes(THREE, 4, start=begin))
    end = begin + timedelta(days=4)
    bring_up_to_date(store, begin, end, now=end)
    kept = stored(store, THREE, datetime(2026, 2, 1, tzinfo=UTC), end)
    # January is kept as long as its last day is
    late = datetime(2026, 5, 1, tzinfo=UTC)
    assert store.features.forget(first_kept_day(late, 91)) == []
    assert store.features.forget(first_kept_day(late, 89)) == [date(2026, 1, 1)]
    assert store.features.forget(first_kept_day(late, 89)) == []
    assert stored(store, THREE, begin, end).equals(kept)
    assert store.features.cells.read(THREE, begin.date(), end.date())["day"].min() == date(2026, 2, 1)
    # Who asks for it gets it again; the next retention takes it away.
    assert bring_up_to_date(store, begin, end, now=end).rows == 3 * 2 * 96
    assert store.features.forget(date(2026, 2, 1)) == [date(2026, 1, 1)]


def test_features_in_use_leave_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_locks, "_PATIENCE", 0.5)
    stock(store, minutes(THREE, 1))
    bring_up_to_date(store, START, START + timedelta(days=1), now=START + timedelta(days=1))

    def reading(connection: psycopg.Connection[Any]) -> None:
        connection.execute("SELECT count(*) FROM research.ml_features")
        with pytest.raises(StoreError, match="2026-01 could not be dropped within 0 s"):
            store.features.forget(date(2026, 2, 1))

    store.connections.run(reading)
    assert store.features.cells.read(THREE, START.date(), START.date()).height == 3
    assert store.features.forget(date(2026, 2, 1)) == [date(2026, 1, 1)]


def test_rows_whose_day_hardly_traded_are_not_eligible() -> None:
    """Bars are there, but stated flat, or filled: 788 of 43,199 minutes traded in such a month."""
    rows = 4 * 96
    traded = np.arange(rows) % 96 >= np.where(np.arange(rows) < 192, 0, 60)
    flat = np.full((1, rows), 100.0)
    bars = dict.fromkeys(("open", "high", "low", "close"), flat) | {"volume": np.where(traded, 5.0, 0.0)[None]}
    found = eligible(BarSeries(bars))[0]
    assert found[95:192].all()
    assert not found[288:].any(), "36 of 96"
    half = {**bars, "volume": np.where(np.arange(rows) % 2 == 0, 5.0, 0.0)[None]}
    assert eligible(BarSeries(half))[0][95:].all()
