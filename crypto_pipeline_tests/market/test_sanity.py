"""The rules that no bar may break, with the reason that each form of them gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given

from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.sanity import bar_fault, bar_fault_exprs, bar_faults
from crypto_pipeline_tests.builders.generators import bars_of

_NAMES = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "trade_count")
GOOD = dict(zip(_NAMES, (2.0, 3.0, 1.0, 2.5, 4.0, 8.0, 1.0, 7), strict=True))


def by_expression(bars: pl.DataFrame) -> list[str | None]:
    faults = [pl.when(wrong.fill_null(False)).then(pl.lit(reason)) for reason, wrong in bar_fault_exprs().items()]
    return bars.select(pl.coalesce(*faults)).to_series().to_list()


@given(bars_of())
def test_possible_bars_are_left_alone(bars: pl.DataFrame) -> None:
    assert set(by_expression(bars)) <= {None}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"close": math.nan}, "a value is not a finite number"),
        ({"high": math.inf}, "a value is not a finite number"),
        ({"quote_volume": math.nan}, "a value is not a finite number"),
        ({"low": -1.0}, "a price is not above zero"),
        ({"low": 0.0}, "a price is not above zero"),
        ({"low": 2.1}, "high or low does not enclose open and close"),
        ({"high": 2.4}, "high or low does not enclose open and close"),
        ({"volume": -0.1}, "a volume or count is negative"),
        ({"trade_count": -1}, "a volume or count is negative"),
        ({"volume": 1e17}, "a value is larger than anything that trades"),
        ({"taker_buy_volume": 4.1}, "taker volume is larger than volume"),
    ],
)
def test_an_impossible_bar_is_named_by_every_form(changed: dict[str, Any], reason: str) -> None:
    values = GOOD | changed
    frame = pl.DataFrame([values, GOOD], schema={name: BAR_SCHEMA[name] for name in _NAMES})
    assert bar_fault(*(values[name] for name in _NAMES)) == reason
    assert by_expression(frame) == [reason, None]
    arrays = {name: frame[name].to_numpy() for name in _NAMES[:-1]}
    assert bar_faults(arrays, np.array(frame["trade_count"])) == {0: reason}


def test_flat_and_unstated_is_possible() -> None:
    assert bar_fault(2.0, 2.0, 2.0, 2.0, 0.0) is None
