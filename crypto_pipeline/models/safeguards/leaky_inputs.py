"""Inputs that know the outcome: columns that are no inputs, columns from the future, labels, and encoded labels.

Four looks at the table that is learned from. They see what a table can show; that no feature looks ahead is proved on
bars, by the leak check of features.

- ``foreign``: the input is none of the strategy's, so nobody has proved anything about it.
- ``alone``: the one input alone, in bins whose shares come from the first half of the time, orders the second half with
  an AUC above 0.75, or its rank correlates above 0.5 with the net return. No past price does that.
- ``encoded``: rows that share a value of the input have, group by group, exactly the share of wins that the value
  states. Honest values miss it by the noise of counting; those made from the wins themselves do not. The measure is
  Pearson's chi-square of the groups about a straight line: improbably small.
- ``pure``: the groups are all wins or all losses, as when the own outcome was taken out of a mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from crypto_pipeline.arrays.panel import Floats, Ints
from crypto_pipeline.models.judging.metrics import auc
from crypto_pipeline.models.safeguards.finding import ModelFinding

MOST_AUC_ALONE, MOST_CORRELATION = 0.75, 0.5
#: Bins of one input; groups and rows in a group from which on groups say something; share of rows in pure groups.
_BINS, _LEAST_GROUPS, _LEAST_IN_GROUP, _MOST_PURE = 20, 8, 4, 0.5
#: So many standard deviations too small is no chance.
_TOO_CLOSE = -4.5
#: Fewer rows say nothing about values.
_LEAST_ROWS = 100


def leaky_inputs(x: Floats, y: Floats, net: Floats, names: Sequence[str], known: Sequence[str]) -> list[ModelFinding]:
    """Findings about inputs ``names`` of ``x`` (rows in order of time), given outcomes and net returns.

    ``known``: the inputs of the strategy. Fewer than 100 rows say nothing beyond that.
    """
    allowed = set(known)
    found = [
        ModelFinding(
            "input_schema", name, None, None, f"{name} is no input of this strategy: nothing shows when it is known"
        )
        for name in names
        if name not in allowed
    ]
    if len(y) < _LEAST_ROWS:
        return found
    ranked = _ranks(net)
    for place, name in enumerate(names):
        column = x[:, place]
        value = _alone(column, y)
        if value > MOST_AUC_ALONE:
            message = f"{name} alone tells outcomes with an AUC of {value:.3f}: it knows what came later"
            found.append(ModelFinding("leaky_input", name, value, MOST_AUC_ALONE, message))
            continue
        value = _correlation(column, ranked)
        if value > MOST_CORRELATION:
            message = f"{name} has a rank correlation of {value:.2f} with the net return: it knows what came later"
            found.append(ModelFinding("leaky_input", name, value, MOST_CORRELATION, message))
            continue
        if shown := _encodes(column, y):
            found.append(ModelFinding("leaky_input", name, None, None, f"{name} {shown}: it was made from outcomes"))
    return found


def _alone(column: Floats, y: Floats) -> float:
    """AUC of the second half from shares of class 1 in quantile bins of the first half; nulls are a bin."""
    half = len(y) // 2
    seen = column[:half][~np.isnan(column[:half])]
    if not len(seen):
        return 0.5
    edges = np.unique(np.quantile(seen, np.linspace(0, 1, _BINS + 1)[1:-1]))
    number = np.where(np.isnan(column), len(edges) + 1, np.searchsorted(edges, column, side="right"))
    rows = np.bincount(number[:half], minlength=len(edges) + 2)
    won = np.bincount(number[:half], y[:half], len(edges) + 2)
    share = (won + y[:half].mean()) / (rows + 1)
    found = auc(y[half:], share[number[half:]])
    return 0.5 if math.isnan(found) else found


def _correlation(column: Floats, ranked: Floats) -> float:
    """Size of Spearman's correlation with what ``ranked`` are the ranks of, over rows without nulls."""
    there = ~np.isnan(column)
    if there.sum() < _LEAST_ROWS or np.ptp(column[there]) == 0:
        return 0.0
    return abs(float(np.corrcoef(_ranks(column[there]), ranked[there])[0, 1]))


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def _encodes(column: Floats, y: Floats) -> str | None:
    """What shows that a column's values were made from outcomes; None where nothing does."""
    there = ~np.isnan(column)
    values, place, counts = np.unique(column[there], return_inverse=True, return_counts=True)
    grouped = counts >= _LEAST_IN_GROUP
    if grouped.sum() < _LEAST_GROUPS or counts[grouped].sum() < len(y) / 10:
        return None
    won = np.bincount(place, y[there], len(values))[grouped]
    rows = counts[grouped].astype(np.float64)
    if rows[(won == 0) | (won == rows)].sum() > _MOST_PURE * rows.sum() and 0.2 < won.sum() / rows.sum() < 0.8:
        return "has one outcome only in most groups of rows with the same value"
    score = _closeness(values[grouped], won / rows, rows)
    return f"states the share of wins of its groups {-score:.0f} deviations too exactly" if score < _TOO_CLOSE else None


def _closeness(values: Floats, shares: Floats, rows: Ints | Floats) -> float:
    """Chi-square of ``shares`` about their line on ``values``, in deviations from what the noise of counting gives.

    Wilson and Hilferty's cube root makes a normal of it.
    """
    if np.ptp(values) == 0 or np.ptp(shares) == 0:
        return 0.0
    slope, intercept = np.polyfit(values - values.mean(), shares, 1, w=np.sqrt(rows))
    line = slope * (values - values.mean()) + intercept
    mean = float((shares * rows).sum() / rows.sum())
    free = len(values) - 2
    chi = float((rows * (shares - line) ** 2).sum() / (mean * (1 - mean)))
    return float((chi / free) ** (1 / 3) - (1 - 2 / (9 * free))) / math.sqrt(2 / (9 * free))
