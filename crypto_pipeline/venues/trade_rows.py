"""Checks pages of trades: valid trades by rising id without duplicates, other rows with a reason."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

import polars as pl

from crypto_pipeline.market.bars import TRADE_SCHEMA, UTC_MS
from crypto_pipeline.market.sanity import MAX_MS
from crypto_pipeline.venues.protocol import MalformedAnswer, RejectedRow, shorten


class _RestTrade(Protocol):
    """One trade as a row of REST gives it; ``ms`` in Unix milliseconds."""

    @property
    def trade_id(self) -> int: ...
    @property
    def ms(self) -> int: ...
    @property
    def price(self) -> float: ...
    @property
    def quantity(self) -> float: ...
    @property
    def taker_buy(self) -> bool: ...


T = TypeVar("T", bound=_RestTrade)
#: Greatest number of pages (1000 trades each) of one span, which bounds memory: a liquid pair has a million trades a
#: day.
MOST_PAGES = 2_000
#: Milliseconds within which times may fall while ids rise; recorded trades have no larger fall.
_ORDER_MS = 1_000


@dataclass(frozen=True, slots=True)
class TradePage(Generic[T]):
    """Trades by rising id, and the rejected rows."""

    rows: list[T]
    refused: list[RejectedRow] = field(default_factory=list)

    def beyond(self, known: int) -> int | None:
        """The highest id from ``known`` on among the rejected rows, for the next page; None if a row is valid."""
        ids = [one.trade_id for one in self.refused if one.trade_id is not None and one.trade_id >= known]
        return max(ids) if ids and not self.rows else None


def page_of(
    rows: list[T],
    refused: list[RejectedRow],
    fault: Callable[[T], str | None],
) -> TradePage[T]:
    """Check the rows of a page; ``fault`` says why a row cannot be a trade, if it cannot.

    Two different rows with one id are both rejected; the same row twice is one trade. Rows whose time does not rise
    with their id are refused. Raises MalformedAnswer where that is most of them.
    """
    faults = [fault(row) for row in rows]
    if any(faults):
        bad = [(row, why) for row, why in zip(rows, faults, strict=True) if why is not None]
        refused = [*refused, *(_refused(row, why) for row, why in bad)]
        rows = [row for row, why in zip(rows, faults, strict=True) if why is None]
    if any(later.trade_id <= earlier.trade_id for earlier, later in pairwise(rows)):
        rows, twice = _once(sorted(rows, key=_trade_id))
        refused = [*refused, *twice]
    times = [row.ms // _ORDER_MS for row in rows]
    if any(later < earlier for earlier, later in pairwise(times)):
        places = _rising(times)
        if 2 * len(places) <= len(rows):
            raise MalformedAnswer(
                "the times of most trades do not rise with their ids: it is unknown which times are wrong"
            )
        refused = [
            *refused,
            *(
                _refused(row, "its time does not rise with its id")
                for place, row in enumerate(rows)
                if place not in places
            ),
        ]
        rows = [row for place, row in enumerate(rows) if place in places]
    return TradePage(rows, refused)


def _rising(times: list[int]) -> set[int]:
    """Indices of the longest non-decreasing subsequence of times: with one wrong time, the indices of all others."""
    ends: list[int] = []  # the lowest last time of a subsequence of each length, and its index
    places: list[int] = []
    before: list[int] = []
    for place, time in enumerate(times):
        length = bisect_right(ends, time)
        before.append(places[length - 1] if length else -1)
        ends[length : length + 1], places[length : length + 1] = [time], [place]
    found: set[int] = set()
    place = places[-1] if places else -1
    while place >= 0:
        found.add(place)
        place = before[place]
    return found


def _once(rows: list[T]) -> tuple[list[T], list[RejectedRow]]:
    by_id: dict[int, list[T]] = {}
    for row in rows:
        same = by_id.setdefault(row.trade_id, [])
        if row not in same:
            same.append(row)
    why = "the venue sent different rows for this trade"
    refused = [_refused(row, why) for same in by_id.values() if len(same) > 1 for row in same]
    return [same[0] for same in by_id.values() if len(same) == 1], refused


def _trade_id(row: _RestTrade) -> int:
    return row.trade_id


def _refused(row: _RestTrade, why: str) -> RejectedRow:
    return RejectedRow(row.ms if 0 < row.ms < MAX_MS else None, why, shorten(repr(row)), row.trade_id)


def frame_of_trades(rows: Sequence[_RestTrade], instrument: str) -> pl.DataFrame:
    """TRADE_SCHEMA frame of rows, in the order given, each of which is one trade."""
    return trade_frame(
        instrument,
        [row.trade_id for row in rows],
        [row.ms for row in rows],
        [row.price for row in rows],
        [row.quantity for row in rows],
        [row.taker_buy for row in rows],
    )


def trade_frame(
    instrument: str | Sequence[str],
    ids: Sequence[int],
    times: Sequence[int],
    prices: Sequence[float],
    quantities: Sequence[float],
    taker_buys: Sequence[bool],
    *,
    first_ids: Sequence[int] | None = None,
    last_ids: Sequence[int] | None = None,
) -> pl.DataFrame:
    """TRADE_SCHEMA frame of columns, in the given order.

    ``times`` are Unix ms. Without ``first_ids`` and ``last_ids`` each row is one trade. ``taker_buys``: whether the
    taker bought.
    """
    return pl.DataFrame(
        {
            "instrument": [instrument] * len(ids) if isinstance(instrument, str) else instrument,
            "trade_id": ids,
            "first_id": ids if first_ids is None else first_ids,
            "last_id": ids if last_ids is None else last_ids,
            "time": times,
            "price": prices,
            "quantity": quantities,
            "taker_side": ["buy" if bought else "sell" for bought in taker_buys],
        },
        schema_overrides={**TRADE_SCHEMA, "time": pl.Int64()},
    ).with_columns(pl.col("time").cast(UTC_MS))
