"""The bar frame: its schema, and the rules of what a bar cannot be."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given

from crypto_pipeline.market import BAR_SCHEMA, UTC_MS, conform, vwap
from crypto_pipeline_tests.builders.generators import START, bars_of

GOOD = dict(
    zip(
        BAR_SCHEMA,
        ("A-B", START, 2.0, 3.0, 1.0, 2.5, 4.0, 8.0, 1.0, 7, "venue_historical", True, START + timedelta(minutes=1)),
        strict=True,
    )
)


def bar(**changed: Any) -> pl.DataFrame:
    return pl.DataFrame([{**GOOD, **changed}], schema=BAR_SCHEMA)


@given(bars_of())
def test_frames_that_fit_are_left_alone(bars: pl.DataFrame) -> None:
    assert conform(bars).equals(bars)


def test_conform_casts_what_fits_and_fills_what_may_be_unstated() -> None:
    other = (
        bar()
        .drop("quote_volume", "trade_count", "taker_buy_volume")
        .with_columns(
            pl.col("volume").cast(pl.Int32),
            pl.col("open_time").dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("us"),
        )
    )
    ours = conform(other.select(reversed(other.columns)))
    assert ours.schema == pl.Schema(BAR_SCHEMA)
    assert ours.equals(bar(quote_volume=None, trade_count=None, taker_buy_volume=None))


def test_conform_names_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="lack the column revision"):
        conform(bar().drop("revision"))
    with pytest.raises(ValueError, match=r"open_time is Datetime.*time zone"):
        conform(bar().with_columns(pl.col("open_time").dt.replace_time_zone(None)))
    with pytest.raises(ValueError, match="open does not fit Float64"):
        conform(bar().with_columns(open=pl.lit("dear")))


def test_vwap_is_null_where_nothing_traded() -> None:
    frame = pl.concat([bar(), bar(volume=0.0, quote_volume=0.0), bar(quote_volume=None)])
    assert frame.select(vwap()).to_series().to_list() == [2.0, None, None]
    assert frame.schema["open_time"] == UTC_MS
