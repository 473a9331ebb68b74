"""Which strategies there are. Assets, checks, settings and commands take them from here."""

from __future__ import annotations

from enum import StrEnum

from crypto_pipeline.labels.strategies.base import StrategyDefinition
from crypto_pipeline.labels.strategies.channel import CHANNEL
from crypto_pipeline.labels.strategies.dca import DCA
from crypto_pipeline.labels.strategies.swing import SWING


class Strategy(StrEnum):
    """The strategies whose setups are labelled; each has the table ``research.strategy_<strategy>_labels``."""

    DCA = "dca"
    SWING = "swing"
    CHANNEL = "channel"

    @classmethod
    def parse(cls, text: str) -> Strategy:
        """The strategy called ``text``; ValueError names the choices."""
        try:
            return cls(text.strip().lower())
        except ValueError:
            raise ValueError(f"unknown strategy {text!r}: use one of {', '.join(cls)}") from None

    @property
    def definition(self) -> StrategyDefinition:
        """Its entry in STRATEGIES."""
        return STRATEGIES[self]


STRATEGIES: dict[Strategy, StrategyDefinition] = {
    Strategy.DCA: DCA,
    Strategy.SWING: SWING,
    Strategy.CHANNEL: CHANNEL,
}
