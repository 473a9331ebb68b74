"""Which of two copies of a bar is believed (invariant I1), for whole columns at once.

The order is total: complete, source rank, revision, then the content itself. So any order of arrival ends the same,
and two copies that are equal in all of it are the same copy.
"""

from __future__ import annotations

import numpy as np

from crypto_pipeline.market.precedence import TIE_BREAKERS
from crypto_pipeline.store.columns.bars import Array, Columns, key, take

#: From the most significant to the least. Absent values rank lowest.
_STANDING = ("complete", "source_rank")
ORDER = (*_STANDING, "revision", *TIE_BREAKERS)


def _comparable(values: Array) -> Array:
    """Absent floats as minus infinity, so that they compare."""
    return np.where(np.isnan(values), -np.inf, values) if values.dtype.kind == "f" else values


def judge(new: Columns, old: Columns) -> tuple[Array, Array]:
    """For aligned rows: where the new copy is better, and where the copies differ at most in their revision."""
    standing, content = _compare(new, old, _STANDING), _compare(new, old, TIE_BREAKERS)
    revision = np.sign(new["revision"] - old["revision"])
    same = (standing == 0) & (content == 0)
    # each counts only where everything before it is equal
    verdict = np.where(standing != 0, standing, np.where(revision != 0, revision, content))
    return verdict > 0, same


def _compare(new: Columns, old: Columns, order: tuple[str, ...]) -> Array:
    """1 where the new copy is greater by the first column that differs, -1 where it is less, 0 where none differs."""
    verdict = np.zeros(len(new["open_time"]), np.int8)
    for name in reversed(order):
        left, right = _comparable(new[name]), _comparable(old[name])
        differs = left != right
        if differs.any():
            verdict[differs] = np.where((left > right)[differs], np.int8(1), np.int8(-1))
    return verdict


def sort_best(columns: Columns) -> Columns:
    """Rows by instrument and open time, of each bar only the best copy."""
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
