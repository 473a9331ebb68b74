"""The variants that trade beside production: each is what it declares to differ in, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crypto_pipeline.labels.strategies.registry import STRATEGIES, Strategy
from crypto_pipeline.trading.parameters import TradingParameters

#: The name of production among its variants.
CHAMPION = "CHAMPION"


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant of production.

    Attributes:
        about: What it does otherwise, in words.
        sets: Trading parameters that have another value.
        adds: What is added to the value that production has.
        scales: What production's value is multiplied by.
        strategies: The strategies that it concerns; it is recommended for no other.
    """

    about: str
    sets: Mapping[str, Any] = field(default_factory=dict)
    adds: Mapping[str, float] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    strategies: frozenset[Strategy] = frozenset(STRATEGIES)

    @property
    def declares(self) -> dict[str, Any]:
        """What it differs in, as JSON values: a new value, ``+x`` or ``×x``."""
        added = {name: f"{value:+g}" for name, value in self.adds.items()}
        return {**self.sets, **added, **{name: f"×{value:g}" for name, value in self.scales.items()}}

    def parameters(self, champion: TradingParameters) -> TradingParameters:
        """The parameters of the variant of ``champion``; what a strategy has of its own there differs likewise."""
        own = {
            strategy: {name: self._changed(name, value) for name, value in changes.items()}
            for strategy, changes in champion.by_strategy.items()
        }
        declared = [*self.sets, *self.adds, *self.scales]
        if not declared:
            return champion
        changes = {name: self._changed(name, getattr(champion, name)) for name in declared}
        return champion.changed({**changes, "by_strategy": own})

    def _changed(self, name: str, value: Any) -> Any:
        """The value of one parameter where production has ``value``."""
        if name in self.sets:
            return self.sets[name]
        if name in self.adds:
            return value + self.adds[name]
        return value * self.scales[name] if name in self.scales else value


_DCA = frozenset({Strategy.DCA})

#: All variants by name; CHAMPION is production itself.
VARIANTS: Mapping[str, Variant] = {
    CHAMPION: Variant("Production."),
    "CONSERVATIVE": Variant(
        "Fewer and smaller trades with nearer stops.",
        {"max_open": 3}, adds={"threshold_shift": 0.05}, scales={"size_factor": 0.5, "stop_factor": 0.8},
    ),
    "AGGRESSIVE": Variant(
        "More and larger trades with wider stops.",
        {"max_open": 8}, adds={"threshold_shift": -0.05}, scales={"size_factor": 1.5, "stop_factor": 1.2},
    ),
    "QUICK_EXITS": Variant("Nearer targets, at most a day.", {"horizon_hours": 24.0}, scales={"target_factor": 0.8}),
    "TRAILING": Variant("A stop that follows the price up, from half of the way to the target on.", {"trailing": True}),
    "ML_OFF": Variant("The rules alone, whatever models say.", {"ml": False}),
    **{
        f"DCA_{orders}": Variant(
            f"DCA with a grid of {orders} orders.", {"dca_orders": orders}, strategies=frozenset({Strategy.DCA})
        )
        for orders in (3, 4, 5)
    },
}  # fmt: skip


def find_variant(name: str) -> Variant:
    """The variant of that name, in any case. Raises ValueError with the names that there are."""
    found = VARIANTS.get(name.upper())
    if found is None:
        raise ValueError(f"there is no variant {name!r}: use one of {', '.join(VARIANTS)}")
    return found
