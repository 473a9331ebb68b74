"""Variants differ from production in what they declare, and in nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.shadow.variants import CHAMPION, VARIANTS, find_variant

DECLARED: dict[str, dict[str, Any]] = {
    "CONSERVATIVE": {"threshold_shift": 0.05, "size_factor": 0.5, "stop_factor": 0.8, "max_open": 3},
    "AGGRESSIVE": {"threshold_shift": -0.05, "size_factor": 1.5, "stop_factor": 1.2, "max_open": 8},
    "QUICK_EXITS": {"target_factor": 0.8, "horizon_hours": 24.0},
    "TRAILING": {"trailing": True},
    "ML_OFF": {"ml": False},
    "DCA_3": {"dca_orders": 3},
    "DCA_4": {"dca_orders": 4},
    "DCA_5": {"dca_orders": 5},
    CHAMPION: {},
}


def test_all_are_there() -> None:
    assert VARIANTS.keys() == DECLARED.keys()


@pytest.mark.parametrize("name", list(DECLARED))
def test_a_variant_changes_only_what_it_declares(name: str) -> None:
    champion = TradingParameters()
    before, after = champion.model_dump(), VARIANTS[name].parameters(champion).model_dump()
    assert {field: value for field, value in after.items() if value != before[field]} == DECLARED[name]
    assert VARIANTS[name].declares.keys() == DECLARED[name].keys()


def test_changes_are_relative_to_what_production_does() -> None:
    champion = TradingParameters(size_factor=0.8, threshold_shift=0.02, max_open=7, capital=5000)  # type: ignore[arg-type]
    found = VARIANTS["CONSERVATIVE"].parameters(champion)
    assert (found.size_factor, found.threshold_shift, found.max_open) == (0.4, 0.07, 3)
    assert found.capital == champion.capital


def test_what_a_strategy_has_of_its_own_differs_likewise() -> None:
    champion = TradingParameters(by_strategy={Strategy.SWING: {"size_factor": 0.4, "trailing": True}})
    own = VARIANTS["CONSERVATIVE"].parameters(champion).of(Strategy.SWING)
    assert (own.size_factor, own.trailing, own.max_open) == (0.2, True, 3)
    assert VARIANTS["CONSERVATIVE"].parameters(champion).of(Strategy.DCA).size_factor == 0.5


def test_only_some_parameters_can_be_a_strategys_own() -> None:
    with pytest.raises(ValidationError, match="capital is no parameter that swing may have of its own"):
        TradingParameters(by_strategy={Strategy.SWING: {"capital": 1}})


def test_grids_concern_no_other_strategy() -> None:
    assert {name for name, each in VARIANTS.items() if each.strategies == {Strategy.DCA}} == {"DCA_3", "DCA_4", "DCA_5"}


def test_names_are_found_in_any_case_or_all_are_named() -> None:
    assert find_variant("ml_off") is VARIANTS["ML_OFF"]
    with pytest.raises(ValueError, match="no variant 'FASTER': use one of CHAMPION, CONSERVATIVE"):
        find_variant("FASTER")
