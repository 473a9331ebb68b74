"""Conditions of setups: a measure, how it is compared, and with what.

A strategy's setups are found from its list of conditions, and the scanner says of every bar which of them are met: one
list, so that both always say the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from crypto_pipeline.arrays.panel import Flags, Floats


class Comparison(StrEnum):
    """How a measure is compared with its threshold."""

    AT_LEAST = ">="
    AT_MOST = "<="
    ABOVE = ">"
    BELOW = "<"

    @property
    def is_upward(self) -> bool:
        """Whether greater values meet it."""
        return self in (Comparison.AT_LEAST, Comparison.ABOVE)


_COMPARE: dict[Comparison, Callable[[Any, float], Any]] = {
    Comparison.AT_LEAST: operator.ge,
    Comparison.AT_MOST: operator.le,
    Comparison.ABOVE: operator.gt,
    Comparison.BELOW: operator.lt,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: ``measure`` compared with ``threshold``. A measure that is NaN (a bar is absent) does not meet it.

    Attributes:
        name: Unique in the strategy.
        measure: The name of what is compared: see ``StrategyDefinition.measures`` and ``measures_at``.
        comparison: How.
        threshold: With what, from the strategy's parameters.
        about: What is asked for, for people.
    """

    name: str
    measure: str
    comparison: Comparison
    threshold: Callable[[Any], float]
    about: str

    def met(self, values: Floats, parameters: Any) -> Flags:
        """Whether each value meets it."""
        with np.errstate(invalid="ignore"):
            flags: Flags = _COMPARE[self.comparison](values, self.threshold(parameters))
        return flags

    def margin(self, values: Floats, parameters: Any) -> Floats:
        """How far each value is on the right side of the threshold: below 0 where the condition is not met."""
        away: Floats = values - self.threshold(parameters)
        return away if self.comparison.is_upward else -away


def at_least(name: str, threshold: Callable[[Any], float], about: str, measure: str = "") -> Condition:
    """``measure`` (default: of the same name) >= threshold."""
    return Condition(name, measure or name, Comparison.AT_LEAST, threshold, about)


def at_most(name: str, threshold: Callable[[Any], float], about: str, measure: str = "") -> Condition:
    """``measure`` (default: of the same name) <= threshold."""
    return Condition(name, measure or name, Comparison.AT_MOST, threshold, about)


def above(name: str, threshold: Callable[[Any], float], about: str, measure: str = "") -> Condition:
    """``measure`` (default: of the same name) > threshold."""
    return Condition(name, measure or name, Comparison.ABOVE, threshold, about)


def below(name: str, threshold: Callable[[Any], float], about: str, measure: str = "") -> Condition:
    """``measure`` (default: of the same name) < threshold."""
    return Condition(name, measure or name, Comparison.BELOW, threshold, about)
