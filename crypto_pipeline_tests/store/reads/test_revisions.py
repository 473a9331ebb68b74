"""Superseded copies of bars read back: each was the truth for its time, and no copy is left out.

Guards I2 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.archive.reader import REVISION_SCHEMA
from crypto_pipeline.store.columns.frames import READ_SCHEMA
from crypto_pipeline_tests.builders.bars import START, bar, frame, series

M1 = Timeframe.M1
END = START + timedelta(hours=1)


def test_the_copies_are_those_that_reads_of_the_past_give(store: Store) -> None:
    store.bars.write(series(("BTC-USDT", "ETH-USDT"), 60), M1)
    for seed in (2, 3):
        rewritten = series(("BTC-USDT",), 30, seed=seed, revised=timedelta(hours=seed))
        store.bars.write(rewritten.with_columns(complete=pl.lit(True)), M1)
    found = store.reader.revisions(["ETH-USDT", "BTC-USDT"], M1, START, END)
    assert dict(found.schema) == REVISION_SCHEMA
    assert set(found["instrument"]) == {"BTC-USDT"}, "nothing of the other one was replaced"
    assert found.height == 60, "two copies each of thirty bars"
    assert found.equals(found.sort("instrument", "open_time", "superseded_at"))
    for moment in (*found["recorded_at"].unique(), *found["superseded_at"].unique()):
        then = pl.col("recorded_at") <= moment, pl.col("superseded_at") > moment
        known = store.reader.read(["BTC-USDT"], M1, START, START + timedelta(minutes=30), as_of=moment)
        copies = found.filter(*then).select(list(READ_SCHEMA))
        current = store.reader.read(["BTC-USDT"], M1, START, START + timedelta(minutes=30))
        current = current.filter(pl.col("recorded_at") <= moment)
        assert pl.concat([copies, current]).sort("open_time").equals(known)


def test_the_span_is_half_open_and_a_wrong_question_is_refused(store: Store) -> None:
    for hour in (1, 2):
        rows = [bar(at=START + timedelta(minutes=each), price=100.0 + hour) for each in range(5)]
        store.bars.write(frame([row | {"revision": START + timedelta(hours=hour)} for row in rows]), M1)
    found = store.reader.revisions(["BTC-USDT"], M1, START + timedelta(minutes=1), START + timedelta(minutes=3))
    assert found["open_time"].to_list() == [START + timedelta(minutes=each) for each in (1, 2)]
    assert found["open"].to_list() == [101.0, 101.0]
    assert store.reader.revisions(["BTC-USDT"], M1, START, START).is_empty()
    with pytest.raises(StoreError, match="did you mean BTC-USDT"):
        store.reader.revisions(["BTC-USD"], M1, START, END)
    with pytest.raises(StoreError, match="swap them"):
        store.reader.revisions(["BTC-USDT"], M1, END, START)
