"""Which copy wins depends on the copies alone: any order, any split into writes, the same table."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.market import BAR_SCHEMA, Source, best_copies
from crypto_pipeline.market.bars import FAILOVER, SUBSTITUTE
from crypto_pipeline_tests.builders.generators import START

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
        standing = (str(draw(st.sampled_from(list(Source)))), draw(st.booleans()))
        revision = START + timedelta(minutes=draw(st.integers(0, 2)))
        rows.append((draw(st.sampled_from("AB")), opened, *prices, draw(_VALUE), *counts, *standing, revision))
    return pl.DataFrame(rows, schema=BAR_SCHEMA, orient="row")


def standing(copy: dict[str, Any]) -> tuple[Any, ...]:
    """The total order, said aloud."""

    def nulls_first(value: float | None) -> float:
        return -math.inf if value is None else value

    return (
        copy["complete"],
        Source(copy["source"]).rank,
        copy["revision"],
        nulls_first(copy["trade_count"]),
        copy["volume"],
        nulls_first(copy["quote_volume"]),
        copy["open"],
        copy["high"],
        copy["low"],
        copy["close"],
        nulls_first(copy["taker_buy_volume"]),
    )


@given(copies())
def test_the_best_copy_is_the_greatest_in_the_order(frame: pl.DataFrame) -> None:
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for copy in frame.iter_rows(named=True):
        key = (copy["instrument"], copy["open_time"])
        if key not in best or standing(copy) > standing(best[key]):
            best[key] = copy
    assert best_copies(frame).to_dicts() == [best[key] for key in sorted(best)]


@given(copies(), st.randoms(), st.lists(st.integers(0, 25), max_size=4))
def test_any_order_in_any_writes_folds_to_the_same_bars(frame: pl.DataFrame, random: Any, cuts: list[int]) -> None:
    rows = list(range(frame.height))
    random.shuffle(rows)
    shuffled = frame[rows]
    bounds = [0, *sorted(min(cut, frame.height) for cut in cuts), frame.height]
    table = frame.clear()
    for low, high in pairwise(bounds):
        table = best_copies(pl.concat([table, shuffled[low:high]]))
    assert table.equals(best_copies(frame))
    assert best_copies(table).equals(table)


def test_a_later_worse_copy_never_wins() -> None:
    """Fault 6: a version made of the clock let an incomplete live bar replace the venue's own."""
    values = (1.0, 1.0, 1.0, 1.0, 1.0, None, None, None)
    good = ("A", START, *values, "venue_historical", True, START)
    late = ("A", START, *values, "live_aggregated", False, START + timedelta(days=1))
    frame = pl.DataFrame([good, late], schema=BAR_SCHEMA, orient="row")
    assert best_copies(frame)["source"].to_list() == ["venue_historical"]


def test_an_unknown_source_is_not_guessed() -> None:
    row = ("A", START, 1.0, 1.0, 1.0, 1.0, 1.0, None, None, None, "hearsay", True, START)
    with pytest.raises(ValueError, match="unknown source 'hearsay'"):
        best_copies(pl.DataFrame([row, row], schema=BAR_SCHEMA, orient="row"))


@given(copies(), st.randoms())
def test_a_complete_copy_of_the_first_venue_beats_any_that_stood_in_while_it_was_down(
    frame: pl.DataFrame, random: Any
) -> None:
    """Whatever comes last, and however new its revision is."""
    rows = list(range(frame.height))
    random.shuffle(rows)
    best = best_copies(frame[rows])
    key = ["instrument", "open_time"]
    stated = frame.filter(pl.col("complete") & ~pl.col("source").is_in([str(each) for each in FAILOVER]))
    of_first = best.join(stated.select(key).unique(), on=key, how="semi")
    assert not set(of_first["source"]) & {str(each) for each in FAILOVER}


def test_where_each_stands() -> None:
    first = [Source.VENUE_HISTORICAL, Source.HISTORICAL_AGGREGATED, Source.LIVE_GAP_FILLED, Source.LIVE_AGGREGATED]
    for stood_in, substitute in zip(sorted(FAILOVER), sorted(SUBSTITUTE), strict=True):
        assert stood_in.rank < min(one.rank for one in first)
        assert max(one.rank for one in first) < substitute.rank < Source.RECONCILED.rank
    assert len({one.rank for one in Source}) == len(Source)
