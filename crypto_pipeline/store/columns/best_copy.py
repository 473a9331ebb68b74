"""The precedence of two copies of a bar (I1 in docs/invariants.md), for whole columns at once.

The order is total: complete, source rank, revision, then the values. So the result is independent of the order of
arrival, and two copies that are equal in all of these are the same copy.
"""

from __future__ import annotations

import numpy as np

from crypto_pipeline.market.precedence import TIE_BREAKERS
from crypto_pipeline.store.columns.bars import Array, Columns, key, take

#: From the most significant to the least. Absent values rank lowest.
_STANDING = ("complete", "source_rank")
ORDER = (*_STANDING, "revision", *TIE_BREAKERS)


def _comparable(values: Array) -> Array:
    """Replace absent floats (NaN) by minus infinity, which compares."""
    return np.where(np.isnan(values), -np.inf, values) if values.dtype.kind == "f" else values


def judge(new: Columns, old: Columns) -> tuple[Array, Array]:
    """For aligned rows, two masks: the new copy is better; the copies differ at most in their revision."""
    standing, content = _compare(new, old, _STANDING), _compare(new, old, TIE_BREAKERS)
    revision = np.sign(new["revision"] - old["revision"])
    same = (standing == 0) & (content == 0)
    # a column decides only where all columns before it are equal
    verdict = np.where(standing != 0, standing, np.where(revision != 0, revision, content))
    return verdict > 0, same


def _compare(new: Columns, old: Columns, order: tuple[str, ...]) -> Array:
    """1 where the new copy is greater in the first differing column, -1 where it is less, 0 where all are equal."""
    verdict = np.zeros(len(new["open_time"]), np.int8)
    for name in reversed(order):
        left, right = _comparable(new[name]), _comparable(old[name])
        differs = left != right
        if differs.any():
            verdict[differs] = np.where((left > right)[differs], np.int8(1), np.int8(-1))
    return verdict


def sort_best(columns: Columns) -> Columns:
    """Sort rows by instrument and open time, and keep only the best copy of each bar."""
    keys = key(columns)
    steps = np.diff(keys)
    if (steps > 0).all():
        return columns
    if not (steps >= 0).all():
        rows = np.argsort(keys, kind="stable")
        columns, keys = take(columns, rows), keys[rows]
        if (np.diff(keys) > 0).all():
            return columns
    rows = np.lexsort([*(_comparable(columns[name]) for name in reversed(ORDER)), keys])
    columns, keys = take(columns, rows), keys[rows]
    return take(columns, np.append(np.diff(keys) > 0, True))
