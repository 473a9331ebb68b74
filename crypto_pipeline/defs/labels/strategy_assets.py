"""The parameter sets that labels are computed with, as the settings name them, and how far their bars reach."""

from __future__ import annotations

from crypto_pipeline.labels.parameters import DEFAULT, LOOSE, parameter_sets
from crypto_pipeline.labels.stored.inputs import look_ahead, look_back
from crypto_pipeline.labels.strategies.base import Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.settings import load_settings


def asset_name(strategy: Strategy) -> str:
    """The asset of a strategy's labels."""
    return f"strategy_{strategy}_labels"


def chosen_parameters(strategy: Strategy) -> dict[str, Parameters]:
    """Parameters of the strategy by the name of their set; sets that agree come once, under the first name."""
    chosen: dict[str, Parameters] = {}
    for name, parameters in parameter_sets(load_settings().label_parameters).items():
        if all(parameters[strategy].hash != other.hash for other in chosen.values()):
            chosen[name] = parameters[strategy]
    return chosen


def learned_parameters(strategy: Strategy) -> dict[str, Parameters]:
    """Those of the sets ``default`` and ``loose``, which models learn on; one where they agree."""
    return {name: one for name, one in chosen_parameters(strategy).items() if name in (DEFAULT, LOOSE)}


def reach(strategy: Strategy) -> tuple[int, int]:
    """Days by which the labels of a day look back and ahead, at most over all parameter sets."""
    sets = chosen_parameters(strategy).values()
    return max(map(look_back, sets)), max(map(look_ahead, sets))
