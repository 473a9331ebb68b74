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


class ParameterError(ValueError):
    """A parameter set is wrong; the message names set, strategy, parameter, value and what is accepted."""


def parameter_sets(given: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[Strategy, Parameters]]:
    """The sets of the setting ``label_parameters``, which has by name the values that differ from the defaults.

    ``default`` is always there. Raises ParameterError in one clear line.
    """
    sets = {"default": {}, **given}
    return {name: _one_set(name, differing) for name, differing in sets.items()}


def _one_set(name: str, differing: Mapping[str, Mapping[str, Any]]) -> dict[Strategy, Parameters]:
    if unknown := [key for key in differing if key not in set(Strategy)]:
        raise ParameterError(f"label_parameters.{name}.{unknown[0]}: use one of {', '.join(Strategy)}")
    parameters = {}
    for strategy, definition in STRATEGIES.items():
        model = definition.parameters
        try:
            given = model.with_names_of_today(differing.get(strategy, {}))
            parameters[strategy] = model.model_validate(_merged(model.model_validate({}).model_dump(), given))
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise ParameterError(
                f"label_parameters.{name}.{strategy}.{where}={problem['input']!r}: {problem['msg']}; "
                f"parameters are {', '.join(model.model_fields)}"
            ) from None
        except ValueError as error:
            raise ParameterError(f"label_parameters.{name}.{strategy}: {error}") from None
    return parameters


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid upon ``base``, nested tables too."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
