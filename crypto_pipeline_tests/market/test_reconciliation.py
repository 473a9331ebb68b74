"""Two statements about the same bars, compared bar by bar, against a walk over all of them."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.market import BAR_SCHEMA, Disagreement, compare_bars
from crypto_pipeline_tests.builders.generators import START, bars_of


@given(bars_of())
def test_a_frame_agrees_with_itself(bars: pl.DataFrame) -> None:
    assert compare_bars(bars, bars).is_empty()
    assert compare_bars(bars, bars.sample(fraction=1, shuffle=True, seed=1)).is_empty()


@given(bars_of(), bars_of())
def test_it_finds_what_a_walk_over_all_bars_finds(ours: pl.DataFrame, theirs: pl.DataFrame) -> None:
    left, right = (
        {(bar["instrument"], bar["open_time"]): bar for bar in frame.iter_rows(named=True)} for frame in (ours, theirs)
    )
    expected = {}
    for key in left.keys() | right.keys():
        sides = [side[key] for side in (left, right) if key in side]
        if not all(bar["complete"] for bar in sides):
            continue
        if len(sides) == 1:
            expected[key] = ("only_ours" if key in left else "only_theirs", ["open", "high", "low", "close", "volume"])
            continue
        columns = [name for name in ("open", "high", "low", "close") if sides[0][name] != sides[1][name]]
        one, other = sides[0]["volume"], sides[1]["volume"]
        if abs(one - other) > 1e-9 * max(one, other):
            columns.append("volume")
        if columns:
            kind = "volume" if columns == ["volume"] else "price_and_volume" if "volume" in columns else "price"
            expected[key] = (kind, columns)
    found = compare_bars(ours, theirs)
    names = found.select("instrument", "open_time", "kind", "columns").iter_rows()
    assert {(name, opened): (kind, columns) for name, opened, kind, columns in names} == expected


@given(st.floats(1e-6, 1e9), st.floats(-3e-9, 3e-9))
def test_volume_has_a_tolerance_and_prices_have_none(volume: float, off: float) -> None:
    row = ("A", START, 1.0, 1.0, 1.0, 1.0, volume, None, None, None, "venue_historical", True, START)
    ours = pl.DataFrame([row], schema=BAR_SCHEMA, orient="row")
    other = ours.with_columns(pl.col("volume") * (1 + off))
    differs = abs(other["volume"].item() - volume) > 1e-9 * max(volume, other["volume"].item())
    assert compare_bars(ours, other)["kind"].to_list() == (["volume"] if differs else [])
    nearly = compare_bars(ours, ours.with_columns(close=pl.lit(1.0000000000000002)))
    assert nearly.select("kind", "columns").row(0) == (Disagreement.PRICE, ["close"])
    assert nearly["theirs"].struct.field("close").item() == 1.0000000000000002


def test_sides_without_instrument_and_doubles() -> None:
    few = pl.DataFrame({"open_time": [START, START + timedelta(minutes=5)]}).with_columns(
        open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0
    )
    found = compare_bars(few, few.head(1))
    assert found.columns == ["open_time", "kind", "columns", "ours", "theirs"]
    assert found.select("kind", "theirs").row(0) == ("only_ours", None)
    assert found["ours"].item()["volume"] == 1.0
    with pytest.raises(pl.exceptions.PolarsError):
        compare_bars(pl.concat([few, few]), few)
    with pytest.raises(ValueError, match="theirs lack the column close"):
        compare_bars(few, few.drop("close"))
