"""Individual trades inside aggregate trades: each is counted once.

A venue that aggregates trades states in each aggregate the first and last individual trade that it sums. Aggregate ids
may be consecutive while these overlap (a trade is summed twice) or jump (no aggregate sums a trade).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

#: An aggregate that claims more trades than this is not used to judge others: one wrong number would otherwise make
#: every trade after it a repetition.
LARGEST = 1_000_000


def new_singles(aggregates: Iterable[tuple[int, int]]) -> list[int]:
    """Of each aggregate ``(first, last)`` the number of trades that no earlier one sums; 0: a repetition."""
    seen: list[list[int]] = []  # sorted spans of ids that do not touch
    counts = []
    for first, last in aggregates:
        size = last - first + 1
        if not 0 < size <= LARGEST:
            counts.append(max(size, 1))
            continue
        low = bisect_right(seen, first - 2, key=lambda span: span[1])
        high = low
        known = 0
        begin, end = first, last
        while high < len(seen) and seen[high][0] <= last + 1:
            known += min(seen[high][1], last) - max(seen[high][0], first) + 1
            begin, end = min(begin, seen[high][0]), max(end, seen[high][1])
            high += 1
        seen[low:high] = [[begin, end]]
        counts.append(size - known)
    return counts
