"""Sets of parameters, as the setting ``label_parameters`` describes them.

A set has a name and holds one object of parameters per strategy. Sets stand side by side; where two sets agree about a
strategy they share its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from crypto_pipeline.labels.strategies.base import Parameters
from crypto_pipeline.labels.strategies.registry import STRATEGIES, Strategy

#: The set that is traded and judged, and the wider one beside it that models learn on.
DEFAULT, LOOSE = "default", "loose"


class ParameterError(ValueError):
    """A parameter set is wrong; the message names set, strategy, parameter, value and what is accepted."""


def parameter_sets(given: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[Strategy, Parameters]]:
    """The sets of the setting ``label_parameters``, which has by name the values that differ from the defaults.

    ``default`` and ``loose`` are always there. What a set does not name is as each strategy's module says; in ``loose``
    it is as in ``default``, with the wider conditions of the strategy upon it: models learn on ``loose`` and are used
    on ``default``, so both need the same barriers. Raises ParameterError in one clear line.
    """
    sets: dict[str, dict[Strategy, Parameters]] = {}
    for name, differing in {DEFAULT: {}, LOOSE: {}, **given}.items():
        _require_strategies(name, differing)
        sets[name] = {strategy: _of_one(name, strategy, differing.get(strategy, {}), given) for strategy in STRATEGIES}
    return sets


def _require_strategies(name: str, differing: Mapping[str, Any]) -> None:
    if unknown := [key for key in differing if key not in set(Strategy)]:
        raise ParameterError(f"label_parameters.{name}.{unknown[0]}: use one of {', '.join(Strategy)}")


def _of_one(
    name: str, strategy: Strategy, differing: Mapping[str, Any], given: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> Parameters:
    """The parameters of one strategy in the set ``name``, where they differ from what they rest on."""
    model = strategy.definition.parameters
    try:
        values = model.model_validate({}).model_dump()
        if name == LOOSE:
            beneath = model.with_names_of_today(given.get(DEFAULT, {}).get(strategy, {}))
            values = _merged(_merged(values, beneath), strategy.definition.loose)
        return model.model_validate(_merged(values, model.with_names_of_today(differing)))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ParameterError(
            f"label_parameters.{name}.{strategy}.{where}={problem['input']!r}: {problem['msg']}; "
            f"parameters are {', '.join(model.model_fields)}"
        ) from None
    except ValueError as error:
        raise ParameterError(f"label_parameters.{name}.{strategy}: {error}") from None


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid upon ``base``, nested tables too."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
