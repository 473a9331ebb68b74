"""What the ids of an answer of trades prove: in which spans it states every trade."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def whole_spans(
    ids: Sequence[int],
    times: Sequence[int],
    start: int,
    end: int,
    id_before: int | None = None,
    id_after: int | None = None,
) -> list[tuple[int, int]]:
    """Spans of time ``(after, before)``, both ends exclusive, in which no other trade can have happened.

    ``ids`` rise, ``times`` are theirs, all inside ``[start, end)``; ``id_before`` is the last id before ``start`` and
    ``id_after`` the first at or after ``end``. Ids rise with time, so between two neighbouring ids nothing else
    happened. An answer that lacks a trade has a jump there, or does not reach the end, and proves nothing there.
    """
    known = list(zip(ids, times, strict=True))
    if id_before is not None:
        known.insert(0, (id_before, start - 1))
    if id_after is not None:
        known.append((id_after, end))
    spans: list[tuple[int, int]] = []
    runs_on = False
    for (one, since), (other, until) in pairwise(known):
        if other != one + 1 or until < since:
            runs_on = False
        elif runs_on:
            spans[-1] = (spans[-1][0], until)
        else:
            spans.append((since, until))
            runs_on = True
    return spans


def proven_absent(time: int, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a trade that was not stated cannot have happened at ``time``."""
    return any(after < time < before for after, before in spans)
