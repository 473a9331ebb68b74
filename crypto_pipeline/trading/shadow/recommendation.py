"""Which change, if any, is recommended: Holm's correction over strategies, at most once in 28 days.

A recommendation changes nothing: a person applies it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from crypto_pipeline.trading.shadow.comparison import VariantComparison

#: What the p-values are held to; time between two tests. Calibrated: at 0.04 no kind of history without a difference
#: that was tried, of 30 to 180 days, has a change recommended in more than 5 % of its tests (bench/shadow.py).
LEVEL, EVERY = 0.04, timedelta(days=28)


def recommend(
    compared: Mapping[str, Sequence[VariantComparison]], *, level: float = LEVEL
) -> dict[str, VariantComparison]:
    """The variant to change to, by strategy; strategies without one are absent.

    Holm (1979): the strategy with the smallest p-value needs ``level`` by the number of strategies, the next by one
    fewer, and so on to the first that fails. Of a strategy's variants that can be recommended the best counts.
    """
    best = {}
    for strategy, variants in compared.items():
        able = [each for each in variants if not each.reasons and each.p_value < 1]
        if able:
            best[strategy] = max(able, key=lambda each: (each.statistic, each.variant))
    found: dict[str, VariantComparison] = {}
    for strategy in sorted(best, key=lambda name: (best[name].p_value, name)):
        if best[strategy].p_value > level / (len(compared) - len(found)):
            break
        found[strategy] = best[strategy]
    return found


def next_test(last: datetime | None) -> datetime | None:
    """When the next test is due after one at ``last``; None: at once."""
    return None if last is None else last + EVERY
