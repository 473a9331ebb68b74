"""The best copy of each bar, by Python's own ordering of tuples: what the store's vectorised forms are held to."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from crypto_pipeline.market.bars import BarOrigin
from crypto_pipeline.market.precedence import SOURCE_RANKS, TIE_BREAKERS


def standing(copy: dict[str, Any]) -> tuple[Any, ...]:
    """The place of a copy in the total order: the greatest is believed."""
    content = (-math.inf if copy[name] is None else copy[name] for name in TIE_BREAKERS)
    return (copy["complete"], SOURCE_RANKS[BarOrigin(copy["source"])], copy["revision"], *content)


def best_copies(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per bar of BAR_SCHEMA, the best of its copies, sorted by instrument and open time."""
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for copy in frame.iter_rows(named=True):
        key = (copy["instrument"], copy["open_time"])
        if key not in best or standing(copy) > standing(best[key]):
            best[key] = copy
    return pl.DataFrame([best[key] for key in sorted(best)], schema=frame.schema)
