from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given

from crypto_pipeline.market import BAR_SCHEMA, UTC_MS, Timeframe, bar_sanity, conform, vwap
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
def test_possible_bars_are_left_alone(bars: pl.DataFrame) -> None:
    assert bar_sanity(bars, Timeframe.M1).is_empty()
    assert conform(bars).equals(bars)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"open": None}, "open is null"),
        ({"instrument": None}, "instrument is null"),
        ({"close": math.nan}, "close is not finite"),
        ({"high": math.inf}, "high is not finite"),
        ({"quote_volume": math.nan}, "quote_volume is not finite"),
        ({"low": -1.0}, "low is not above zero"),
        ({"low": 0.0}, "low is not above zero"),
        ({"low": 2.1}, "low is above open, high or close"),
        ({"high": 2.4}, "high is below open, low or close"),
        ({"volume": -0.1}, "volume is negative"),
        ({"trade_count": -1}, "trade_count is negative"),
        ({"open_time": START + timedelta(seconds=1)}, "open time is off the 1m grid"),
    ],
)
def test_an_impossible_bar_is_named(changed: dict[str, Any], reason: str) -> None:
    violations = bar_sanity(pl.concat([bar(**changed), bar(instrument="C-D")]), Timeframe.M1)
    assert violations.height == 1
    assert reason in violations["reason"].item()


def test_one_bar_twice_and_several_reasons() -> None:
    assert bar_sanity(pl.concat([bar(), bar()]))["reason"].to_list() == ["the bar is there twice"] * 2
    reasons = bar_sanity(bar(volume=-1.0, open=0.5))["reason"].item()
    assert reasons == "volume is negative; low is above open, high or close"


def test_flat_and_unstated_is_possible() -> None:
    flat = bar(high=2.0, low=2.0, close=2.0, volume=0.0, quote_volume=None, taker_buy_volume=None, trade_count=None)
    assert bar_sanity(flat, Timeframe.M1).is_empty()


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
