"""Individual trades inside aggregate trades: which of them were seen, and none counted twice.

A venue that aggregates states in each aggregate the first and last individual trade that it sums. Its aggregate ids may
run on while these overlap (the same trade summed twice) or jump (trades that no aggregate sums).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

#: No order of a taker meets so many orders at one price. An aggregate that claims more is not used to judge others:
#: one mistaken number would otherwise declare every trade after it a repetition.
LARGEST = 1_000_000


def new_singles(aggregates: Iterable[tuple[int, int]]) -> list[int]:
    """How many individual trades of each ``(first, last)`` no earlier one sums; 0: a repetition, not to be counted."""
    seen: list[list[int]] = []  # spans of ids, sorted, apart from each other
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
