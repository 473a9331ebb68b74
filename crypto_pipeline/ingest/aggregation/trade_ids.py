"""Which trade ids of one instrument are known, and what is missing between them."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple


class IdHole(NamedTuple):
    """Missing ids, both inclusive, and the times of the known neighbours (Unix milliseconds).

    ``last`` is one less than ``first`` where the ids are consecutive, but not the individual trades that they sum.
    """

    first: int
    last: int
    start_ms: int
    end_ms: int


class IdSpans:
    """Known ids as sorted spans that do not touch. Usually there is one span whose end moves.

    An id may carry the first and last individual trade that it sums. Two neighbours are one span only when these
    continue as well; otherwise a hole of no ids lies between them: the venue contradicts itself there.
    """

    __slots__ = ("spans",)

    def __init__(self) -> None:
        #: ``[first id, last id, time of the first, time of the last, first individual id, last one]``; -1: not known
        self.spans: list[list[int]] = []

    def add(self, number: int, ms: int, first: int = -1, last: int = -1) -> bool:
        """Add one id with its time. False when it was known before."""
        spans = self.spans
        if not spans or number > spans[-1][1] + 1:
            spans.append([number, number, ms, ms, first, last])
            return True
        newest = spans[-1]
        if number == newest[1] + 1:
            if _runs_on(newest[5], first):
                newest[1], newest[3], newest[5] = number, ms, last
            else:
                spans.append([number, number, ms, ms, first, last])
            return True
        place = self._place(number)
        if place >= 0 and number <= spans[place][1]:
            return False
        left = spans[place] if place >= 0 and spans[place][1] + 1 == number else None
        right = spans[place + 1] if spans[place + 1 :] and spans[place + 1][0] - 1 == number else None
        left = left if left is not None and _runs_on(left[5], first) else None
        right = right if right is not None and _runs_on(last, right[4]) else None
        if left is not None and right is not None:
            left[1], left[3], left[5] = right[1], right[3], right[5]
            del spans[place + 1]
        elif left is not None:
            left[1], left[3], left[5] = number, ms, last
        elif right is not None:
            right[0], right[2], right[4] = number, ms, first
        else:
            spans.insert(place + 1, [number, number, ms, ms, first, last])
        return True

    def discard(self, number: int, first: int = -1, last: int = -1) -> None:
        """Remove one id. The times at the new ends are those of the old ones: near enough to request by."""
        place = self._place(number)
        if place < 0 or number > self.spans[place][1]:
            return
        low, high, low_ms, high_ms, low_single, high_single = self.spans[place]
        parts = [
            [low, number - 1, low_ms, high_ms, low_single, first - 1 if first >= 0 else -1],
            [number + 1, high, low_ms, high_ms, last + 1 if last >= 0 else -1, high_single],
        ]
        self.spans[place : place + 1] = [part for part in parts if part[0] <= part[1]]

    def void(self, hole: IdHole) -> None:
        """The venue itself does not show these ids: they count as present."""
        left, right = self._place(hole.first - 1), self._place(hole.last + 1)
        if left < 0 or self.spans[left][1] < hole.first - 1 or right <= left:
            return  # a neighbour was forgotten, and the hole with it
        self.spans[left] = [
            value for pair in zip(self.spans[left][::2], self.spans[right][1::2], strict=True) for value in pair
        ]
        del self.spans[left + 1 : right + 1]

    def around(self, first: int, last: int) -> tuple[bool, bool, bool]:
        """Whether all of ``first .. last`` is known, the id before it, and the id after it."""
        place = self._place(first)
        if place < 0 or last > self.spans[place][1]:
            return False, False, False
        return True, self.spans[place][0] < first, self.spans[place][1] > last

    def holes(self) -> list[IdHole]:
        """The missing ids between known ones, oldest first."""
        return [
            IdHole(left[1] + 1, right[0] - 1, left[3], right[2])
            for left, right in zip(self.spans, self.spans[1:], strict=False)
        ]

    def forget_upto(self, number: int) -> None:
        """Forget every id up to this one."""
        while self.spans and self.spans[0][1] <= number:
            del self.spans[0]
        if self.spans and self.spans[0][0] <= number:
            self.spans[0][0], self.spans[0][4] = number + 1, -1

    def forget_before(self, ms: int) -> None:
        """Forget spans that ended before ``ms``, except the newest."""
        keep = next((place for place, span in enumerate(self.spans) if span[3] >= ms), len(self.spans) - 1)
        if keep > 0:
            del self.spans[:keep]

    def _place(self, number: int) -> int:
        """Index of the last span that begins at or before the id; -1 when there is none."""
        return bisect_right(self.spans, number, key=lambda span: span[0]) - 1


def _runs_on(last: int, first: int) -> bool:
    """Whether the individual trade ``first`` follows ``last``; True where one of them is not known."""
    return last < 0 or first < 0 or first == last + 1
