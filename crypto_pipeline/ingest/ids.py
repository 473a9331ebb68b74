"""Which trade ids of one instrument are known, and what is missing between them."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple


class Hole(NamedTuple):
    """Ids that nobody has seen, both inclusive, and the times of the known neighbours (Unix milliseconds)."""

    first: int
    last: int
    start_ms: int
    end_ms: int


class IdSpans:
    """Known ids as spans, sorted, apart from each other. In the usual case one span whose end moves."""

    __slots__ = ("spans",)

    def __init__(self) -> None:
        #: ``[first id, last id, time of the first, time of the last]``
        self.spans: list[list[int]] = []

    def add(self, number: int, ms: int) -> bool:
        """Now it is known. False when it was known before."""
        spans = self.spans
        if not spans or number > spans[-1][1] + 1:
            spans.append([number, number, ms, ms])
            return True
        last = spans[-1]
        if number == last[1] + 1:
            last[1], last[3] = number, ms
            return True
        place = self._place(number)
        if place >= 0 and number <= spans[place][1]:
            return False
        left = spans[place] if place >= 0 and spans[place][1] + 1 == number else None
        right = spans[place + 1] if spans[place + 1 :] and spans[place + 1][0] - 1 == number else None
        if left is not None and right is not None:
            left[1], left[3] = right[1], right[3]
            del spans[place + 1]
        elif left is not None:
            left[1], left[3] = number, ms
        elif right is not None:
            right[0], right[2] = number, ms
        else:
            spans.insert(place + 1, [number, number, ms, ms])
        return True

    def discard(self, number: int) -> None:
        """It is not known after all. Times at a new end are those of the old one: near enough to ask by."""
        place = self._place(number)
        if place < 0 or number > self.spans[place][1]:
            return
        first, last, first_ms, last_ms = self.spans[place]
        parts = [[first, number - 1, first_ms, last_ms], [number + 1, last, first_ms, last_ms]]
        self.spans[place : place + 1] = [part for part in parts if part[0] <= part[1]]

    def void(self, hole: Hole) -> None:
        """The venue itself has no such ids: they are not missing any more."""
        for number in (hole.first, hole.last):
            self.add(number, hole.start_ms)
        place = self._place(hole.first)
        last = self._place(hole.last)
        if last > place:
            self.spans[place][1], self.spans[place][3] = self.spans[last][1], self.spans[last][3]
            del self.spans[place + 1 : last + 1]

    def around(self, first: int, last: int) -> tuple[bool, bool, bool]:
        """Whether all of ``first .. last`` is known, the id before it, and the id after it."""
        place = self._place(first)
        if place < 0 or last > self.spans[place][1]:
            return False, False, False
        return True, self.spans[place][0] < first, self.spans[place][1] > last

    def holes(self) -> list[Hole]:
        """What is missing between known ids, oldest first."""
        return [
            Hole(left[1] + 1, right[0] - 1, left[3], right[2])
            for left, right in zip(self.spans, self.spans[1:], strict=False)
        ]

    def forget_upto(self, number: int) -> None:
        """Let go of every id up to this one."""
        while self.spans and self.spans[0][1] <= number:
            del self.spans[0]
        if self.spans and self.spans[0][0] <= number:
            self.spans[0][0] = number + 1

    def forget_before(self, ms: int) -> None:
        """Let go of spans that ended before ``ms``, except the newest."""
        keep = next((place for place, span in enumerate(self.spans) if span[3] >= ms), len(self.spans) - 1)
        if keep > 0:
            del self.spans[:keep]

    def _place(self, number: int) -> int:
        """Of the last span that begins at or before the id; -1 when there is none."""
        return bisect_right(self.spans, number, key=lambda span: span[0]) - 1
