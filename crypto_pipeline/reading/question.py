"""One question for bars, checked and in one form, so that equal questions are equal keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading.moments import Moment, names, optional, span
from crypto_pipeline.store.bar_queries import FIRST, LAST

Fill = Literal["flat"]
#: Nobody wants more, and a server should not try.
MOST_LAST = 10_000_000


@dataclass(frozen=True, slots=True)
class Question:
    """What ``Reader.bars`` was asked. ``end`` None is now, at every asking."""

    instruments: tuple[str, ...]
    timeframe: Timeframe
    start: datetime | None
    end: datetime | None
    last: int | None
    as_of: datetime | None
    final_only: bool
    columns: tuple[str, ...] | None
    fill: Fill | None


def _inside(bound: datetime | None) -> datetime | None:
    """Bounds near the ends of the calendar, beyond which there are no bars, moved to where one can calculate."""
    return None if bound is None else min(max(bound, FIRST), LAST)


def question(
    instruments: str | Sequence[str],
    timeframe: str,
    start: Moment | None = None,
    end: Moment | None = None,
    last: int | None = None,
    as_of: Moment | None = None,
    final_only: bool = True,
    columns: Sequence[str] | None = None,
    fill: str | None = None,
) -> Question:
    """The checked question. Raises ValueError that names the argument at fault."""
    if (start is None) == (last is None):
        raise ValueError("give either start, or last (the newest so many bars of each instrument), not both or neither")
    if last is not None and (type(last) is not int or not 1 <= last <= MOST_LAST):
        raise ValueError(f"last: give a whole number from 1 to {MOST_LAST:,}, not {last!r}")
    if fill not in (None, "flat"):
        raise ValueError(f"fill: give 'flat' or leave it out, not {fill!r}")
    begin, until = _inside(optional(start, "start")), _inside(optional(end, "end"))
    if begin is not None and until is not None:
        span(begin, until)
    return Question(
        tuple(names(instruments)), Timeframe.parse(timeframe), begin, until, last, optional(as_of, "as_of"), final_only,
        None if columns is None else tuple(names(columns, "columns")), "flat" if fill else None,
    )  # fmt: skip
