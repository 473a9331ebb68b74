"""What a feature is: its name, what it measures, how many bars it needs, and the expression that computes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe

#: Of the rows of a bounded window this share may be absent; beyond it the feature is null.
TOLERATED = 0.05
#: Raised whenever a formula changes without its text: rows of another version are stale.
VERSION = 1


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of ``ml_features``, Float64, null where its input is missing or not warm."""

    name: str
    group: str
    #: Bars of ``timeframe``, the newest included, from which on the value no longer depends on where the series begins.
    warm_up: int
    #: What it is, in a line.
    text: str
    #: Over the columns of ``bar_features.base`` (of the frame of its timeframe); None: computed for the whole market.
    expr: pl.Expr | None = None
    timeframe: Timeframe = Timeframe.M15


def enough(n: int) -> int:
    """Rows that must be there in a window of ``n``."""
    return n - int(n * TOLERATED)


def schema_hash(features: Iterable[Feature], shared: Mapping[str, pl.Expr]) -> str:
    """A text that is another whenever a feature is added, moved, or computed differently."""
    stated = [
        (one.name, one.timeframe, one.warm_up, one.text, None if one.expr is None else str(one.expr))
        for one in features
    ]
    windows = {name: str(expr) for name, expr in shared.items()}
    return hashlib.sha256(json.dumps([VERSION, TOLERATED, stated, windows]).encode()).hexdigest()[:16]
