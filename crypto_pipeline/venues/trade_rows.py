"""Pages of trades, sifted: each trade that can be, once, by rising ids; the others with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Generic, TypeVar

from crypto_pipeline.market.sanity import MAX_MS
from crypto_pipeline.venues.protocol import Refused, cut

T = TypeVar("T")
#: Most pages of a thousand trades for one span: a liquid pair has a million trades a day, and memory is not endless.
MOST_PAGES = 2_000


@dataclass(frozen=True, slots=True)
class TradePage(Generic[T]):
    """Trades by rising ids, and the rows that are not believed."""

    rows: list[T]
    refused: list[Refused] = field(default_factory=list)

    def beyond(self, known: int) -> int | None:
        """The highest id above ``known`` among refused rows, where no row could be taken: what to go on from."""
        ids = [one.trade_id for one in self.refused if one.trade_id is not None and one.trade_id >= known]
        return max(ids) if ids and not self.rows else None


def page_of(
    rows: list[T],
    refused: list[Refused],
    number: Callable[[T], int],
    fault: Callable[[T], str | None],
    ms: Callable[[T], int],
) -> TradePage[T]:
    """Sift the rows of a page. Two rows that say different things of one id are both refused; the same row twice is one
    trade."""
    faults = [fault(row) for row in rows]
    if any(faults):
        bad = [(row, why) for row, why in zip(rows, faults, strict=True) if why is not None]
        refused = [*refused, *(_refused(row, why, number, ms) for row, why in bad)]
        rows = [row for row, why in zip(rows, faults, strict=True) if why is None]
    if any(number(later) <= number(earlier) for earlier, later in pairwise(rows)):
        rows, twice = _once(sorted(rows, key=number), number, ms)
        refused = [*refused, *twice]
    return TradePage(rows, refused)


def _once(rows: list[T], number: Callable[[T], int], ms: Callable[[T], int]) -> tuple[list[T], list[Refused]]:
    by_id: dict[int, list[T]] = {}
    for row in rows:
        same = by_id.setdefault(number(row), [])
        if row not in same:
            same.append(row)
    why = "the venue says different things of this trade"
    refused = [_refused(row, why, number, ms) for same in by_id.values() if len(same) > 1 for row in same]
    return [same[0] for same in by_id.values() if len(same) == 1], refused


def _refused(row: T, why: str, number: Callable[[T], int], ms: Callable[[T], int]) -> Refused:
    stated = ms(row)
    return Refused(stated if 0 < stated < MAX_MS else None, why, cut(repr(row)), number(row))
