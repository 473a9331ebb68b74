"""One strategy: every variant against production, on the same days and with the same capital."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from crypto_pipeline.arrays.panel import Floats
from crypto_pipeline.trading.shadow.bootstrap import bootstrap_means

#: How much deeper than production's the worst drawdown of a recommended variant may be.
DRAWDOWN = 1.2


@dataclass(frozen=True, slots=True)
class ShadowMinima:
    """Days, and closed trades of a strategy in both ledgers, below which nothing is recommended."""

    days: int = 30
    trades: int = 100


MINIMA = ShadowMinima()


@dataclass(frozen=True, slots=True)
class DailyResult:
    """What one ledger earned with one strategy: net of costs per UTC day, as a fraction of its capital, in order of
    days (float64, no day left out), and the trades that it closed.
    """

    net: Floats
    trades: int

    @property
    def worst_drawdown(self) -> float:
        """The deepest fall of the sum of days below its highest before, as a fraction of the capital: 0 or more."""
        if not len(self.net):
            return 0.0
        earned = np.concatenate([[0.0], np.cumsum(self.net)])
        return float((np.maximum.accumulate(earned) - earned).max())


@dataclass(frozen=True, slots=True)
class VariantComparison:
    """One variant against production in one strategy.

    Attributes:
        variant: Its name.
        days: Days compared.
        trades: Trades that it closed.
        net: What it earned, as a fraction of the capital.
        difference: Mean daily difference to production.
        low: Lower bound of the difference, 95 %, of this variant alone.
        high: Upper bound likewise.
        statistic: The difference by its standard error.
        p_value: How likely the best of all variants looks at least this good where none is better.
        drawdown: Its worst drawdown.
        reasons: Why it cannot be recommended whatever the p-value (empty: it can).
    """

    variant: str
    days: int
    trades: int
    net: float
    difference: float
    low: float
    high: float
    statistic: float
    p_value: float
    drawdown: float
    reasons: tuple[str, ...]


def compare(
    champion: DailyResult, variants: Mapping[str, DailyResult], seed: int, minima: ShadowMinima = MINIMA
) -> list[VariantComparison]:
    """Compare every variant, in order of names; those that differ from production on no day have a p-value of 1.

    The maximum is taken over all variants that differ, also over those that could not be recommended: which ones these
    are is seen in the same days. Raises ValueError where days are not the same.
    """
    names = sorted(variants)
    if uneven := [name for name in names if len(variants[name].net) != len(champion.net)]:
        raise ValueError(f"{uneven[0]} has {len(variants[uneven[0]].net)} days, production {len(champion.net)}")
    columns = {name: variants[name].net - champion.net for name in names}
    tested = [name for name in names if columns[name].any() and len(columns[name]) >= 2]
    judged: dict[str, tuple[float, ...]] = {}
    if tested:
        means = bootstrap_means(np.column_stack([columns[name] for name in tested]), seed)
        low, high = means.intervals()
        rows = zip(means.mean, low, high, means.statistic, means.p_values(), strict=True)
        judged = {name: tuple(map(float, row)) for name, row in zip(tested, rows, strict=True)}
    same = (0.0, 0.0, 0.0, 0.0, 1.0)
    return [_compared(name, variants[name], champion, judged.get(name, same), minima) for name in names]


def _compared(
    name: str, result: DailyResult, champion: DailyResult, judged: tuple[float, ...], minima: ShadowMinima
) -> VariantComparison:
    difference, low, high, statistic, p_value = judged
    return VariantComparison(
        variant=name, days=len(result.net), trades=result.trades, net=float(result.net.sum()),
        difference=difference, low=low, high=high, statistic=statistic, p_value=p_value,
        drawdown=result.worst_drawdown, reasons=tuple(_hindrances(result, champion, minima)),
    )  # fmt: skip


def _hindrances(result: DailyResult, champion: DailyResult, minima: ShadowMinima) -> list[str]:
    found = []
    if len(result.net) < minima.days:
        found.append(f"{len(result.net)} days, fewer than {minima.days}")
    if result.trades < minima.trades:
        found.append(f"{result.trades} trades, fewer than {minima.trades}")
    if champion.trades < minima.trades:
        found.append(f"production has {champion.trades} trades, fewer than {minima.trades}")
    if result.worst_drawdown > (allowed := DRAWDOWN * champion.worst_drawdown):
        found.append(f"its worst drawdown is {result.worst_drawdown:.4f}, more than {allowed:.4f}")
    return found
