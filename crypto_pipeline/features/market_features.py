"""Features that need more than one instrument: the benchmark beside it, and its place among all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from crypto_pipeline.features.bar_features import DAY, WEEK, R, correlation, lr, ratio, shared, sigma
from crypto_pipeline.features.grid import Floats
from crypto_pipeline.features.registry import Feature

_together, _own, _benchmark = (shared(name) for name in ("covariance_benchmark", "sigma_own", "sigma_benchmark"))

#: Of the benchmark, the same for every instrument.
BENCHMARK = [
    Feature("btc_lr_4", "market", 5, "the benchmark's log return over 4 bars", lr(4)),
    Feature("btc_lr_96", "market", 97, "the benchmark's log return over 96 bars", lr(DAY)),
    Feature("btc_rv_96", "market", 97, "the benchmark's rv_96", sigma(R, DAY) * DAY**0.5),
]
#: Of the instrument against the benchmark.
RELATIVE = [
    Feature("btc_correlation_672", "market", 673, "correlation of 1-bar returns with the benchmark's, 672 bars",
            correlation(_together, _own, _benchmark)),
    Feature("btc_beta_672", "market", 673, "slope of 1-bar returns on the benchmark's, 672 bars",
            ratio(_together, _benchmark.pow(2))),
    Feature("relative_strength_96", "market", 97, "lr_96 minus the benchmark's",
            lr(DAY) - pl.col("benchmark_lr_96")),
    Feature("relative_strength_672", "market", 673, "lr_672 minus the benchmark's",
            lr(WEEK) - pl.col("benchmark_lr_672")),
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
    """Breadth per row of the grid, and rank per row and instrument; NaN where unknown."""

    breadth: Floats
    rank: Mapping[str, Floats]


def cross_section(closes: Mapping[str, Floats]) -> CrossSection:
    """From closes of every instrument on one grid (NaN: absent). A row uses its closes and those 96 before."""
    names = list(closes)
    matrix = np.stack([closes[name] for name in names], axis=1)
    moved = np.full(matrix.shape, np.nan)
    moved[DAY:] = np.log(matrix[DAY:] / matrix[:-DAY])
    known = np.count_nonzero(~np.isnan(moved), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rising = np.count_nonzero(moved > 0, axis=1)
        breadth = np.where(known > 0, rising / known, np.nan)
        rank = (_places(moved) - 1) / (known - 1)[:, None]
    rank[(known < 2)[:, None] | np.isnan(moved)] = np.nan
    return CrossSection(breadth, {name: rank[:, column] for column, name in enumerate(names)})


def _places(values: Floats) -> Floats:
    """Rank within each row from 1, ties share their mean; NaN takes no part."""
    columns = values.shape[1]
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    place = np.broadcast_to(np.arange(columns), values.shape)
    starts = np.ones(values.shape, dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    ends = np.ones(values.shape, dtype=bool)
    ends[:, :-1] = starts[:, 1:]
    last = np.minimum.accumulate(np.where(ends, place, columns)[:, ::-1], axis=1)[:, ::-1]
    result = np.empty(values.shape)
    np.put_along_axis(result, order, (first + last) / 2 + 1, axis=1)
    return result
