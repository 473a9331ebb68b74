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


#: Asks for trades from ``since`` (Unix ms) on.
AskTrades = Callable[[int], Awaitable[list[CcxtTrade]]]

#: How long before the span its first page begins, in ms: longer until there is a trade before the span.
_LOOK_BACK = (60_000, 600_000, 7_200_000, 86_400_000)
_MOST_PAGES = 50
_MINUTE = 60_000


async def read_trades(ask: AskTrades, begin: int, end: int) -> tuple[int, int, list[CcxtTrade]]:
    """The part of ``[begin, end)`` (Unix ms) of which the exchange shows all trades, and these by rising time.

    The part has whole minutes, and is all of the span where there is a trade on either side. Raises VenueError where
    there is no such part.
    """
    found: list[CcxtTrade] = []
    for back in _LOOK_BACK:
        found = await _read_from(ask, begin - back, end)
        if found and found[0].ms < begin:
            break
    if found:
        since = begin if found[0].ms < begin else -(-(found[0].ms + 1) // _MINUTE) * _MINUTE
        until = end if found[-1].ms >= end else found[-1].ms // _MINUTE * _MINUTE
        if since < until:
            return since, until, [trade for trade in found if since <= trade.ms < until]
    raise VenueError("it gives no trades on either side of the span, so that some may be missing", permanent=True)


async def _read_from(ask: AskTrades, since: int, end: int) -> list[CcxtTrade]:
    """Trades from ``since`` on, by rising time, up to the first page with one at or after ``end``.

    Where a page does not join the one before, only what comes after it counts.
    """
    found: dict[str, CcxtTrade] = {}
    last: CcxtTrade | None = None
    for _ in range(_MOST_PAGES):
        page = sorted(await ask(since if last is None else last.ms - 1), key=lambda trade: trade.ms)
        if last is not None and last.number not in {trade.number for trade in page}:
            found.clear()
        if twice := next((one for one in page if found.setdefault(one.number, one) != one), None):
            raise MalformedAnswer(f"it gives different trades with the id {twice.number}")
        if not page or page[-1].ms >= end or page[-1] == last:
            break
        last = page[-1]
    return sorted(found.values(), key=lambda trade: trade.ms)
