"""Daily results of production and eight variants, of many kinds, in which by construction no variant is better.

Differences to production have mean 0: nearly normal ones; heavy tails in calm and wild times; many small gains with
rare large losses, and the reverse; days without trades; days that hang together. Variants share half their variance.
``edge`` makes the first variant of the first strategy better by that many daily standard deviations.
"""

from __future__ import annotations

import numpy as np

from crypto_pipeline.arrays.panel import Floats
from crypto_pipeline.trading.shadow.comparison import DailyResult

STRATEGIES = ("channel", "dca", "swing")
VARIANTS = 8
KINDS = ("normal", "wild", "losses", "gains", "sparse", "dependent")
_SIZE, _TRADES = 0.002, 300
_WARM = 50


def history(
    kind: str, days: int, seed: int, edge: float = 0.0
) -> dict[str, tuple[DailyResult, dict[str, DailyResult]]]:
    """Production and its variants by strategy."""
    rng = np.random.default_rng([seed, days, KINDS.index(kind)])
    found = {}
    for number, strategy in enumerate(STRATEGIES):
        production = 0.005 * rng.normal(size=days)
        apart = _differences(kind, days, rng)
        if number == 0:
            apart[:, 0] += edge
        found[strategy] = (
            DailyResult(production, _TRADES),
            {f"V{place}": DailyResult(production + _SIZE * apart[:, place], _TRADES) for place in range(VARIANTS)},
        )
    return found


def _differences(kind: str, days: int, rng: np.random.Generator) -> Floats:
    """Mean 0 and variance 1, days x variants."""
    common, own = rng.normal(size=(days + _WARM, 1)), rng.normal(size=(days + _WARM, VARIANTS))
    shocks: Floats = np.sqrt(0.5) * (common + own)
    if kind == "wild":
        shocks = _wild(shocks * np.sqrt(1 / rng.chisquare(3, (days + _WARM, 1))))
    elif kind in ("losses", "gains"):
        sign = 1 if kind == "gains" else -1
        shocks = sign * (np.exp(0.8 * shocks) - np.exp(0.32)) / np.sqrt((np.exp(0.64) - 1) * np.exp(0.64))
    elif kind == "sparse":
        shocks = shocks * (rng.random((days + _WARM, 1)) < 0.3) / np.sqrt(0.3)
    elif kind == "dependent":
        for day in range(1, len(shocks)):
            shocks[day] = 0.2 * shocks[day - 1] + np.sqrt(1 - 0.04) * shocks[day]
    return shocks[_WARM:]


def _wild(shocks: Floats) -> Floats:
    """Calm and wild times take turns: the variance of a day follows that of the days before (GARCH 1,1)."""
    variance, found = 1.0, np.empty_like(shocks)
    for day, shock in enumerate(shocks):
        found[day] = np.sqrt(variance) * shock
        variance = 0.05 + 0.1 * float((found[day] ** 2).mean()) + 0.85 * variance
    return found
