"""Features that need more than one instrument: the benchmark beside it, and its place among all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from crypto_pipeline.arrays.arithmetic import lagged, ratio
from crypto_pipeline.arrays.rolling import Floats, ranks
from crypto_pipeline.features.definitions.bar_series import DAY, WEEK, BarSeries
from crypto_pipeline.features.definitions.bars import correlation, log_return, volatility
from crypto_pipeline.features.definitions.feature import Feature


def correlation_with_benchmark(bars: BarSeries) -> Floats:
    """Correlation of a week's returns with the benchmark's."""
    return correlation(*bars.with_benchmark)


def beta(bars: BarSeries) -> Floats:
    """Slope of a week's returns on the benchmark's."""
    _, of_benchmark, together = bars.with_benchmark
    return ratio(together, of_benchmark)


def relative_strength(bars: BarSeries, n: int) -> Floats:
    """Log return over ``n`` rows minus the benchmark's."""
    return bars.lr(n) - bars.benchmark.lr(n)


#: Of the benchmark's own bars, the same for every instrument.
BENCHMARK = [
    Feature("btc_lr_4", "market", 5, "the benchmark's log return over 4 bars", partial(log_return, n=4)),
    Feature("btc_lr_96", "market", 97, "the benchmark's log return over 96 bars", partial(log_return, n=DAY)),
    Feature("btc_rv_96", "market", 97, "the benchmark's rv_96", partial(volatility, n=DAY)),
]
#: Of the instrument against the benchmark.
RELATIVE = [
    Feature("btc_correlation_672", "market", 673, "correlation of 1-bar returns with the benchmark's, 672 bars",
            correlation_with_benchmark),
    Feature("btc_beta_672", "market", 673, "slope of 1-bar returns on the benchmark's, 672 bars", beta),
    Feature("relative_strength_96", "market", 97, "lr_96 minus the benchmark's",
            partial(relative_strength, n=DAY)),
    Feature("relative_strength_672", "market", 673, "lr_672 minus the benchmark's",
            partial(relative_strength, n=WEEK)),
]  # fmt: skip
#: Over all instruments that have a value at the same time.
CROSS_SECTION = [
    Feature("breadth", "market", 97, "share of all instruments whose lr_96 is above 0"),
    Feature(
        "rank_lr_96", "market", 97, "rank of lr_96 among all instruments, 0 lowest to 1 highest, ties in the middle"
    ),
]
MARKET_FEATURES = [*BENCHMARK, *RELATIVE, *CROSS_SECTION]


@dataclass(frozen=True, slots=True)
class CrossSection:
    """Breadth per row of the grid, and rank per instrument and row; NaN where unknown."""

    breadth: Floats
    rank: Floats


def cross_section(closes: Floats) -> CrossSection:
    """From closes (instruments × rows, NaN: absent). A row uses its closes and those 96 before."""
    with np.errstate(invalid="ignore", divide="ignore"):
        moved = np.log(closes / lagged(closes, DAY))
        count = np.count_nonzero(~np.isnan(moved), axis=0)
        breadth = np.where(count > 0, np.count_nonzero(moved > 0, axis=0) / count, np.nan)
        rank = (ranks(np.ascontiguousarray(moved.T)).T - 1) / (count - 1)
    rank[:, count < 2] = np.nan
    return CrossSection(breadth, np.ascontiguousarray(rank))
