"""Which copy wins depends on the copies alone (invariant I1): any order, any split into writes, the same bars.

The forms that the store and the archive use are compared with the oracle, which orders plain Python tuples.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.market.bars import BAR_SCHEMA, FAILOVER, BarOrigin
from crypto_pipeline.store.archive import merge
from crypto_pipeline.store.columns import bars as bar_columns
from crypto_pipeline.store.columns.bars import Columns
from crypto_pipeline.store.columns.best_copy import judge, sort_best
from crypto_pipeline_tests.builders.generators import START
from crypto_pipeline_tests.oracles.precedence import best_copies

_IDS = {"A": 1, "B": 2}
_VALUE = st.sampled_from([1.0, 2.0, 3.0])
_STATED = st.none() | _VALUE


@st.composite
def copies(draw: st.DrawFn) -> pl.DataFrame:
    """Many copies of few bars, alike enough for every tie to happen."""
    rows = []
    for _ in range(draw(st.integers(1, 25))):
        opened = START + timedelta(minutes=draw(st.integers(0, 2)))
        prices = [draw(_VALUE) for _ in range(4)]
        counts = (draw(_STATED), draw(_STATED), draw(st.none() | st.integers(1, 3)))
        standing = (str(draw(st.sampled_from(list(BarOrigin)))), draw(st.booleans()))
        revision = START + timedelta(minutes=draw(st.integers(0, 2)))
        rows.append((draw(st.sampled_from("AB")), opened, *prices, draw(_VALUE), *counts, *standing, revision))
    return pl.DataFrame(rows, schema=BAR_SCHEMA, orient="row")


def columns_from_events(frame: pl.DataFrame) -> Columns:
    columns = bar_columns.from_frame(frame, _IDS)
    return columns | {"recorded_at": np.zeros(frame.height, np.int64)}


def same(one: Columns, other: Columns) -> bool:
    return all(np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f") for name in one)


def shuffled(frame: pl.DataFrame, random: Any) -> pl.DataFrame:
    rows = list(range(frame.height))
    random.shuffle(rows)
    return frame[rows]


@given(copies(), st.randoms(), st.lists(st.integers(0, 25), max_size=4))
def test_the_store_keeps_the_best_copies_in_any_order_and_any_writes(
    frame: pl.DataFrame, random: Any, cuts: list[int]
) -> None:
    best, mixed = columns_from_events(best_copies(frame)), shuffled(frame, random)
    assert same(sort_best(columns_from_events(mixed)), best)
    bounds = [0, *sorted(min(cut, frame.height) for cut in cuts), frame.height]
    table = columns_from_events(frame.clear())
    for low, high in pairwise(bounds):
        table = sort_best(bar_columns.join(table, columns_from_events(mixed[low:high])))
    assert same(table, best)


@given(copies(), copies())
def test_a_new_copy_replaces_a_stored_one_where_it_is_better(one: pl.DataFrame, other: pl.DataFrame) -> None:
    key = ["instrument", "open_time"]
    stored, new = best_copies(one), best_copies(other)
    old = stored.join(new, on=key, how="semi", maintain_order="left")
    new = new.join(stored, on=key, how="semi", maintain_order="left")
    better, _ = judge(columns_from_events(new), columns_from_events(old))
    winners = best_copies(pl.concat([new, old]))
    # of two equal copies the stored one stays
    assert new.filter(pl.Series(better, dtype=pl.Boolean)).rows() == [
        row for row, was in zip(winners.rows(), old.rows(), strict=True) if row != was
    ]


@given(copies(), st.randoms())
def test_the_archive_keeps_the_same_copies(frame: pl.DataFrame, random: Any) -> None:
    recorded = shuffled(frame, random).with_columns(pl.lit(START).alias("recorded_at"))
    assert merge.best(recorded).select(*BAR_SCHEMA).rows() == best_copies(frame).rows()


def test_a_later_worse_copy_never_wins() -> None:
    """An incomplete live bar that comes a day later does not replace the venue's own."""
    values = (1.0, 1.0, 1.0, 1.0, 1.0, None, None, None)
    good = ("A", START, *values, "venue_historical", True, START)
    late = ("A", START, *values, "live_aggregated", False, START + timedelta(days=1))
    frame = pl.DataFrame([good, late], schema=BAR_SCHEMA, orient="row")
    assert same(sort_best(columns_from_events(frame)), columns_from_events(frame[:1]))


@given(copies(), st.randoms())
def test_a_complete_copy_of_the_first_venue_beats_any_that_stood_in_while_it_was_down(
    frame: pl.DataFrame, random: Any
) -> None:
    """Whatever comes last, and however new its revision is."""
    names = [str(each) for each in FAILOVER]
    stated = frame.filter(pl.col("complete") & ~pl.col("source").is_in(names))
    best = sort_best(columns_from_events(shuffled(frame, random)))
    ranks = [bar_columns.RANKS[name] for name in names]
    stand_ins = set(bar_columns.key(best)[np.isin(best["source_rank"], ranks)].tolist())
    assert stand_ins.isdisjoint(bar_columns.key(columns_from_events(stated)).tolist())
