"""Inputs of models: only what is known at the signal, by name, and nothing that is no number."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from crypto_pipeline.features.definitions.registry import NAMES
from crypto_pipeline.labels.compute import find_setups
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Timeframe, roll_up_all
from crypto_pipeline.models.inputs import InputError, input_matrix, input_names
from crypto_pipeline_tests.builders.label_market import START, minutes
from crypto_pipeline_tests.labels.comparison import NAME, SETS, context_of, panel_of

_NAMES = ("lr_1", "regime", "tier")


def rows(**changed: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({"lr_1": [0.5, None], "regime": [-2, 1], "tier": ["large", "meme"]} | changed)


@pytest.mark.parametrize("strategy", Strategy)
def test_setup_measures_that_are_inputs_are_exactly_those_that_the_search_for_setups_gives(strategy: Strategy) -> None:
    bars = roll_up_all(minutes(NAME, 6, 1), (Timeframe.M15, Timeframe.H1))
    context = context_of(bars[Timeframe.M15], bars[Timeframe.H1], START, START + timedelta(days=6))
    panel = panel_of(bars[Timeframe.M15], START, START + timedelta(days=6))
    found = find_setups(strategy, panel, context, SETS["loose"][strategy], {NAME: "mid"})
    measures = set(strategy.definition.table.measures)
    assert measures - set(found.columns) == strategy.definition.known_after_entry
    given = {name.removeprefix("setup_") for name in input_names(strategy) if name.startswith("setup_")}
    assert given == measures & set(found.columns)


def test_every_feature_both_states_and_the_tier_are_inputs_once() -> None:
    names = input_names(Strategy.SWING)
    assert len(set(names)) == len(names)
    assert names[-len(NAMES) - 3 :] == (*NAMES, "regime", "stress", "tier")


def test_columns_are_matched_by_name_and_a_null_is_nan() -> None:
    matrix = input_matrix(rows().select("tier", "lr_1", "regime"), _NAMES)
    np.testing.assert_array_equal(matrix, [[0.5, -2, 0], [math.nan, 1, 2]])
    assert matrix.flags.c_contiguous


@pytest.mark.parametrize(
    ("frame", "names"),
    [
        (rows().drop("lr_1", "tier"), ("lr_1", "tier")),
        (rows(lr_1=[math.nan, 1.0]), ("lr_1",)),
        (rows(lr_1=[math.inf, 1.0], regime=[1.0, -math.inf]), ("lr_1", "regime")),
        (rows(lr_1=["1", "2"]), ("lr_1",)),
        (rows(tier=["large", "stock"]), ("tier",)),
    ],
)
def test_what_cannot_be_given_is_refused_by_name(frame: pl.DataFrame, names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=names[0]) as refused:
        input_matrix(frame, _NAMES)
    assert refused.value.names == names
