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
    assert default == {"dca": "81617c910b5b94fb", "swing": "1ae4d40f0521d1bb", "channel": "09da506efc77cd9a"}
    for values in (FORMER, TODAY):
        hashes = {strategy: parameters.hash for strategy, parameters in parameter_sets({"own": values})["own"].items()}
        assert hashes == {"dca": "0533eb958603b1a4", "swing": "bd4f3a27d5214f70", "channel": "d4226fbeb9bbb177"}


@pytest.mark.parametrize("strategy", Strategy)
def test_former_names_are_read_as_those_of_today(strategy: Strategy) -> None:
    model = STRATEGIES[strategy].parameters
    assert model.model_validate(FORMER[strategy]) == model.model_validate(TODAY[strategy])
    assert model.model_validate(model.model_validate(FORMER[strategy]).model_dump(mode="json")).hash


def test_a_parameter_under_both_names_is_an_error() -> None:
    with pytest.raises(ParameterError, match=r"label_parameters\.x\.swing: rsi_max is given twice, also .* rsi_most"):
        parameter_sets({"x": {"swing": {"rsi_max": 70, "rsi_most": 60}}})


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
