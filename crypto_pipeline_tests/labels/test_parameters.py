"""Parameters: what their hash is made of, and the names that people write. Guards I7: stored labels stay valid."""

from __future__ import annotations

from typing import Any

import pytest

from crypto_pipeline.labels.parameters import ParameterError, parameter_sets
from crypto_pipeline.labels.strategies.registry import STRATEGIES, Strategy

FORMER: dict[str, Any] = {
    "dca": {"fall": 0.06, "rsi_most": 40},
    "swing": {"rsi_least": 50, "rsi_most": 70, "day_change_most": 0.1},
    "channel": {"width_least": 0.02, "width_most": 0.1, "position_most": 0.3, "day_range_most": 0.1},
}
TODAY: dict[str, Any] = {
    "dca": {"fall": 0.06, "rsi_max": 40},
    "swing": {"rsi_min": 50, "rsi_max": 70, "day_change_max": 0.1},
    "channel": {"width_min": 0.02, "width_max": 0.1, "position_max": 0.3, "day_range_max": 0.1},
}


def test_hashes_are_those_of_labels_that_are_stored() -> None:
    # Written down once: with other hashes every stored label would be computed again.
    default = {strategy: parameters.hash for strategy, parameters in parameter_sets({})["default"].items()}
    assert default == {"dca": "f9672418c66084d9", "swing": "908b50a85aeb1bc9", "channel": "97881de3bd05b054"}
    loose = {strategy: parameters.hash for strategy, parameters in parameter_sets({})["loose"].items()}
    assert loose == {"dca": "4683a958e8bac5af", "swing": "4c46b10089d52097", "channel": "4ab2a28148c1ceed"}
    for values in (FORMER, TODAY):
        hashes = {strategy: parameters.hash for strategy, parameters in parameter_sets({"own": values})["own"].items()}
        assert hashes == {"dca": "772bb8edf8e20047", "swing": "05d93ae30b6caa60", "channel": "a369c237a702d123"}


@pytest.mark.parametrize("strategy", Strategy)
def test_former_names_are_read_as_those_of_today(strategy: Strategy) -> None:
    model = STRATEGIES[strategy].parameters
    assert model.model_validate(FORMER[strategy]) == model.model_validate(TODAY[strategy])
    assert model.model_validate(model.model_validate(FORMER[strategy]).model_dump(mode="json")).hash


def test_a_parameter_under_both_names_is_an_error() -> None:
    with pytest.raises(ParameterError, match=r"label_parameters\.x\.swing: rsi_max is given twice, also .* rsi_most"):
        parameter_sets({"x": {"swing": {"rsi_max": 70, "rsi_most": 60}}})


def test_the_loose_set_is_wider_and_ends_as_the_default_one_does() -> None:
    own = {
        "default": {"dca": {"exits": {"large": {"take_profit": 0.05}}, "rsi_most": 40}},
        "loose": {"dca": {"fall": 0.02}},
    }
    for given in ({}, own):
        sets = parameter_sets(given)
        for strategy in Strategy:
            default, loose = (sets[name][strategy].model_dump() for name in ("default", "loose"))
            differing = {name for name, value in default.items() if loose[name] != value}
            assert differing == set(STRATEGIES[strategy].loose)  # nothing of the barriers, costs or horizon
    dca = parameter_sets(own)["loose"][Strategy.DCA].model_dump()
    assert (dca["fall"], dca["rsi_max"], dca["exits"]["large"]["take_profit"]) == (0.02, 40, 0.05)
    tight = parameter_sets({"tight": {}})["tight"]
    assert tight == parameter_sets({})["default"]


def test_errors_name_set_strategy_parameter_and_value() -> None:
    with pytest.raises(ParameterError, match=r"label_parameters\.x\.swing\.rsi_max=120: .*100"):
        parameter_sets({"x": {"swing": {"rsi_max": 120}}})
    with pytest.raises(ParameterError, match=r"label_parameters\.x\.hodl: use one of dca, swing, channel"):
        parameter_sets({"x": {"hodl": {}}})


def test_every_strategy_is_in_the_registry_under_its_own_name() -> None:
    assert list(STRATEGIES) == list(Strategy)
    for strategy, definition in STRATEGIES.items():
        assert definition.table.strategy == strategy
        assert definition.parameters.__doc__
