"""Importances of inputs: by gain, as LightGBM states it, and by permutation of rows that the model has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Floats
from crypto_pipeline.models.judging.metrics import log_losses
from crypto_pipeline.models.learning.boosting import Fitted

#: Rows on which inputs are permuted, at most.
MOST_ROWS = 2_000


def gain_shares(fitted: Fitted, names: Sequence[str]) -> dict[str, float]:
    """Share of each input in the gain of all splits; 0 for all where nothing was split."""
    gains = fitted.booster.feature_importance("gain")
    total = float(gains.sum()) or 1.0
    return dict(zip(names, (gains / total).tolist(), strict=True))


def permutation_losses(fitted: Fitted, x: Floats, y: Floats, names: Sequence[str], seed: int) -> dict[str, float]:
    """How much the log-loss of rows rises when the values of one input change places among them (Breiman, 2001).

    At most MOST_ROWS rows, evenly over all, and one permutation for all inputs. An input that no tree uses has 0.
    """
    chosen = np.linspace(0, len(y) - 1, min(len(y), MOST_ROWS)).astype(np.int64) if len(y) else np.zeros(0, np.int64)
    rows, outcomes = x[chosen].copy(), y[chosen]
    if not len(rows):
        return dict.fromkeys(names, 0.0)
    before = float(log_losses(outcomes, fitted.probabilities(rows)).mean())
    order = np.random.default_rng(seed).permutation(len(rows))
    used = fitted.booster.feature_importance("split") > 0
    found = dict.fromkeys(names, 0.0)
    for place in np.flatnonzero(used).tolist():
        kept = rows[:, place].copy()
        rows[:, place] = kept[order]
        found[names[place]] = float(log_losses(outcomes, fitted.probabilities(rows)).mean()) - before
        rows[:, place] = kept
    return found


def null_rates(rows: pl.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Share of nulls of each input."""
    return {name: rows[name].null_count() / max(rows.height, 1) for name in names}
