"""Inputs that know the outcome: columns that are no inputs, columns from the future, labels, and encoded labels.

Four looks at the table that is learned from. They see what a table can show; that no feature looks ahead is proved on
bars, by the leak check of features.

- ``foreign``: the input is none of the strategy's, so nobody has proved anything about it.
- ``alone``: the one input alone, in bins whose shares come from the first half of the time, orders the second half with
  an AUC above 0.75, or its rank correlates above 0.5 with the net return. No past price does that.
- ``encoded``: rows that share a value of the input have, group by group, exactly the share of wins that the value
  states. Honest values miss it by the noise of counting; those made from the wins themselves do not. The measure is
  Pearson's chi-square of the groups about a straight line: improbably small.
- ``own``: among rows of one instrument, one day, or both, how far the value lies from their mean orders the outcomes
  with an AUC above 0.75, as when the own outcome was taken out of a mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Floats, Ints
from crypto_pipeline.models.judging.metrics import auc
from crypto_pipeline.models.safeguards.finding import ModelFinding

MOST_AUC_ALONE, MOST_CORRELATION = 0.75, 0.5
#: Bins of one input; groups and rows in a group from which on groups say something.
_BINS, _LEAST_GROUPS, _LEAST_IN_GROUP = 20, 8, 4
#: Deviations smaller than this share of the input's own are rounding.
_ROUNDING = 1e-9
#: So many standard deviations too small is no chance.
_TOO_CLOSE = -4.5
#: Fewer rows say nothing about values.
_LEAST_ROWS = 100


def leaky_inputs(
    x: Floats, y: Floats, net: Floats, names: Sequence[str], known: Sequence[str], groups: Sequence[Ints] = ()
) -> list[ModelFinding]:
    """Findings about inputs ``names`` of ``x`` (rows in order of time), given outcomes and net returns.

    ``known``: the inputs of the strategy. ``groups``: of every row the number of its group, for each way of grouping
    (see ``groups_of``). Fewer than 100 rows say nothing beyond ``known``.
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
        if shown := _leak(x[:, place], y, ranked, groups):
            value, most, what = shown
            found.append(ModelFinding("leaky_input", name, value, most, f"{name} {what}"))
    return found


def groups_of(events: pl.DataFrame) -> list[Ints]:
    """Numbers of the instrument, the day of the signal, and both together, of every event."""
    instrument = events["instrument"].rank("dense").to_numpy().astype(np.int64)
    day = events["available_at"].dt.date().rank("dense").to_numpy().astype(np.int64)
    return [instrument, day, instrument * (day.max(initial=0) + 1) + day]


def _leak(column: Floats, y: Floats, ranked: Floats, groups: Sequence[Ints]) -> tuple[float, float, str] | None:
    """What was found of one input, what is allowed, and in words; None where nothing was."""
    if (value := _alone(column, y)) > MOST_AUC_ALONE:
        return value, MOST_AUC_ALONE, f"alone tells outcomes with an AUC of {value:.3f}: it knows what came later"
    if (value := _correlation(column, ranked)) > MOST_CORRELATION:
        return value, MOST_CORRELATION, f"has a rank correlation of {value:.2f} with the net return: it knows it"
    if (score := _closeness(column, y)) < _TOO_CLOSE:
        what = (
            f"states the share of wins of rows with its value {-score:.0f} deviations too exactly: made from outcomes"
        )
        return score, _TOO_CLOSE, what
    for group in groups:
        if (value := _within(column, y, group)) > MOST_AUC_ALONE:
            return value, MOST_AUC_ALONE, f"tells outcomes within its groups with an AUC of {value:.3f}: made from them"
    return None


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


def _closeness(column: Floats, y: Floats) -> float:
    """How much closer the shares of wins of rows with one value are to a line on the value than counting allows.

    In deviations, below 0 where they are closer: chi-square of the shares about the line, made a normal by the cube
    root of Wilson and Hilferty. 0 with too few groups.
    """
    there = ~np.isnan(column)
    values, place, counts = np.unique(column[there], return_inverse=True, return_counts=True)
    grouped = counts >= _LEAST_IN_GROUP
    if grouped.sum() < _LEAST_GROUPS or counts[grouped].sum() < len(y) / 10:
        return 0.0
    rows, values = counts[grouped].astype(np.float64), values[grouped]
    shares = np.bincount(place, y[there], len(counts))[grouped] / rows
    if np.ptp(values) == 0 or np.ptp(shares) == 0:
        return 0.0
    slope, intercept = np.polyfit(values - values.mean(), shares, 1, w=np.sqrt(rows))
    line = slope * (values - values.mean()) + intercept
    mean = float((shares * rows).sum() / rows.sum())
    free = len(values) - 2
    chi = float((rows * (shares - line) ** 2).sum() / (mean * (1 - mean)))
    return float((chi / free) ** (1 / 3) - (1 - 2 / (9 * free))) / math.sqrt(2 / (9 * free))


def _within(column: Floats, y: Floats, group: Ints) -> float:
    """AUC, whichever way round, of the distance of a value from the mean of its group."""
    there = ~np.isnan(column)
    values, place = column[there], np.unique(group[there], return_inverse=True)[1]
    counts = np.bincount(place)
    apart = values - (np.bincount(place, values) / counts)[place]
    several = counts[place] > 1
    if several.sum() < _LEAST_ROWS:
        return 0.5
    apart = np.where(np.abs(apart) < _ROUNDING * float(values.std()), 0.0, apart)
    found = auc(y[there][several], apart[several])
    return 0.5 if math.isnan(found) else max(found, 1 - found)
