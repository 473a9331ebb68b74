"""Break-even probability p* by tier: from which probability on a trade is worth its risk.

``p* = E[loss | y=0] / (E[gain | y=1] + E[loss | y=0])`` of net returns, as they came. A formula of stop and target
would be wrong: exits by time win too, a grid exits on its average, and a channel has a target of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

#: With fewer events of either class than this, a tier has the p* of all tiers together.
LEAST = 30


@dataclass(frozen=True, slots=True)
class BreakEven:
    """p* of one tier, and what it rests on: mean gain and loss (fractions above 0), events, and whose they are."""

    p_star: float
    gain: float
    loss: float
    events: int
    of: str


def break_even(events: pl.DataFrame, tiers: tuple[str, ...]) -> dict[str, BreakEven]:
    """By tier, from ``tier``, ``y``, ``net_return`` and ``is_default`` of ended labels.

    Events of the default set decide where there are enough of both classes, else all events of the tier, else those of
    all tiers; a tier is absent where even those have only one class. The caller gives rows that nothing of what is
    decided with it is taken from (out of fold).
    """
    found = {}
    for tier in tiers:
        of_tier = events.filter(pl.col("tier") == tier)
        choices = {"default set": of_tier.filter("is_default"), "all of the tier": of_tier}
        enough = [(of, rows) for of, rows in choices.items() if _least_class(rows) >= LEAST]
        of, rows = enough[0] if enough else ("all tiers", events)
        if _least_class(rows):
            found[tier] = _estimate(rows, of)
    return found


def _least_class(rows: pl.DataFrame) -> int:
    won = int(rows["y"].sum())
    return min(won, rows.height - won)


def _estimate(rows: pl.DataFrame, of: str) -> BreakEven:
    gain = float(rows.filter(pl.col("y") == 1)["net_return"].to_numpy().mean())
    loss = float(-rows.filter(pl.col("y") == 0)["net_return"].to_numpy().mean())
    return BreakEven(loss / (gain + loss), gain, loss, rows.height, of)
