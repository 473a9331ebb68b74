"""Spans of time that changed."""

from __future__ import annotations

from collections.abc import Iterable

#: Begin and end, Unix milliseconds; half-open.
Span = tuple[int, int]
#: Spans that one frame names; more of them become one.
_MOST_SPANS = 100


def joined(spans: Iterable[Span]) -> list[Span]:
    """The spans in order, those that touch or overlap as one; one span for all where there are too many."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return [(found[0][0], found[-1][1])] if len(found) > _MOST_SPANS else found
