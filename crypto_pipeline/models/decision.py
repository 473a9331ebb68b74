"""What a prediction is used for: the setting ``ml_mode``, which each strategy has.

``off``: the rules alone decide. ``boost``: every signal of the rules may trade, the model scales its size. ``gate``:
only signals whose probability exceeds what they need to break even by a margin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.settings import MlMode, SettingsError

DEFAULT_MODE: MlMode = "boost"
#: In ``gate`` the probability must exceed p* by this.
MARGIN = 0.03
#: In ``boost`` the size is multiplied by 1 at p*, and by a tenth more for each percent of probability beyond it …
_PER_PROBABILITY = 5.0
#: … within these.
SMALLEST, LARGEST = 0.5, 1.5


@dataclass(frozen=True, slots=True)
class MlDecision:
    """``decision``: take or skip; ``size_factor``: what the size is multiplied by (1: as the rules say)."""

    decision: Literal["take", "skip"]
    size_factor: float


#: What the rules alone do.
RULES_ALONE = MlDecision("take", 1.0)


def modes(setting: Mapping[str, MlMode]) -> dict[Strategy, MlMode]:
    """The mode of every strategy, by the setting ``ml_mode``. Raises SettingsError for an unknown strategy."""
    if unknown := [name for name in setting if name not in set(Strategy)]:
        raise SettingsError(f"ml_mode.{unknown[0]}: use one of {', '.join(Strategy)}")
    return {strategy: setting.get(strategy, DEFAULT_MODE) for strategy in Strategy}


def decide(mode: MlMode, probability: float, p_star: float) -> MlDecision:
    """What is done with a signal of this probability. The same in live, in batch and in a test of the past."""
    if mode == "gate":
        return MlDecision("take" if probability >= p_star + MARGIN else "skip", 1.0)
    if mode == "boost":
        scaled = 1.0 + _PER_PROBABILITY * (probability - p_star)
        return MlDecision("take", min(max(scaled, SMALLEST), LARGEST))
    return RULES_ALONE
