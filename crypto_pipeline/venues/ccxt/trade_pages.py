"""Trades around a span, as far as they show that none is missing: one on either side, and pages that join."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from crypto_pipeline.venues.protocol import MalformedAnswer, VenueError


@dataclass(frozen=True, slots=True)
class CcxtTrade:
    """One trade as ccxt reads it; ``ms`` in Unix milliseconds. The exchange's ids may be any text."""

    number: str
    ms: int
    price: float
    quantity: float
    taker_buy: bool


#: Asks for trades from ``since`` (Unix ms) on, and with ``until`` (Unix ms) not past it.
AskTrades = Callable[[int, int | None], Awaitable[list[CcxtTrade]]]

#: How long before the span its first page begins, in ms: longer until there is a trade before the span.
_LOOK_BACK = (60_000, 600_000, 7_200_000, 86_400_000)
_MOST_PAGES = 50
_MINUTE = 60_000


async def read_trades(ask: AskTrades, begin: int, end: int) -> tuple[int, int, list[CcxtTrade]]:
    """The part of ``[begin, end)`` (Unix ms) of which the exchange shows all trades, and these by rising time.

    The part has whole minutes, and is all of the span where there is a trade on either side. Raises VenueError where
    there is no such part.
    """
    best = (begin, begin, list[CcxtTrade]())
    for back in _LOOK_BACK:
        found = await _read_on(ask, begin - back, end)
        best = max(best, _shown(found, begin, end), key=_length)
        if found and found[0].ms >= begin:  # newer ones than were asked for, so it may page from the end
            found = await _read_back(ask, begin - back, begin, end + back)
            best = max(best, _shown(found, begin, end), key=_length)
        if _length(best) == end - begin or (found and found[0].ms < begin):
            break
    if not _length(best):
        raise VenueError("it gives no trades on either side of the span, so that some may be missing", permanent=True)
    return best


def _shown(found: list[CcxtTrade], begin: int, end: int) -> tuple[int, int, list[CcxtTrade]]:
    """The whole minutes of ``[begin, end)`` between the first and the last trade, and the trades in them."""
    if not found:
        return begin, begin, []
    since = begin if found[0].ms < begin else -(-(found[0].ms + 1) // _MINUTE) * _MINUTE
    until = end if found[-1].ms >= end else found[-1].ms // _MINUTE * _MINUTE
    return since, max(since, until), [trade for trade in found if since <= trade.ms < until]


def _length(part: tuple[int, int, list[CcxtTrade]]) -> int:
    return part[1] - part[0]


async def _read_on(ask: AskTrades, since: int, end: int) -> list[CcxtTrade]:
    """Trades from ``since`` on, by rising time, up to the first page with one at or after ``end``.

    Where a page does not join the one before, only what comes after it counts.
    """
    found: dict[str, CcxtTrade] = {}
    last: CcxtTrade | None = None
    for _ in range(_MOST_PAGES):
        page = sorted(await ask(since if last is None else last.ms - 1, None), key=_time)
        if last is not None and last.number not in {trade.number for trade in page}:
            found.clear()
        _add(found, page)
        if not page or page[-1].ms >= end or page[-1] == last:
            break
        last = page[-1]
    return sorted(found.values(), key=_time)


async def _read_back(ask: AskTrades, since: int, begin: int, until: int) -> list[CcxtTrade]:
    """Trades up to ``until``, by rising time, back to the first page with one before ``begin``.

    Where a page does not join the one after it, it does not count.
    """
    found: dict[str, CcxtTrade] = {}
    first: CcxtTrade | None = None
    for _ in range(_MOST_PAGES):
        page = sorted(await ask(since, until if first is None else first.ms + 1), key=_time)
        if first is not None and first.number not in {trade.number for trade in page}:
            break
        _add(found, page)
        if not page or page[0].ms < begin or page[0] == first:
            break
        first = page[0]
    return sorted(found.values(), key=_time)


def _add(found: dict[str, CcxtTrade], page: list[CcxtTrade]) -> None:
    """Add the trades of a page. Raises MalformedAnswer where another page has another trade with an id of it."""
    if twice := next((one for one in page if found.setdefault(one.number, one) != one), None):
        raise MalformedAnswer(f"it gives different trades with the id {twice.number}")


def _time(trade: CcxtTrade) -> int:
    return trade.ms
