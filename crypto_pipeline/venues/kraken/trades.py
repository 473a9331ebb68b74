"""All Kraken trades of a span, paged to later times by a cursor; ids show which trades are new."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from crypto_pipeline.venues.kraken.parse import KrakenTrade
from crypto_pipeline.venues.protocol import MalformedAnswer, RejectedRow
from crypto_pipeline.venues.trade_rows import MOST_PAGES, TradePage

#: Requests up to 1000 trades after a time (Unix ns, exclusive): trades by rising ids, and the cursor of the next page.
Pager = Callable[[int], Awaitable[tuple[TradePage[KrakenTrade], int]]]

#: Seconds before the span from which its preceding trade is searched: the venue cannot page backwards.
_LOOKS = (60, 3_600, 86_400, 30 * 86_400, 365 * 86_400)


async def fetch_trades(
    page: Pager, begin: int, until: int, refused: list[RejectedRow] | None = None
) -> tuple[KrakenTrade | None, list[KrakenTrade], KrakenTrade | None]:
    """The last trade before ``[begin, until)`` (Unix ms), the trades inside by rising ids, and the first one after.

    Invalid rows are added to ``refused``. Raises MalformedAnswer.
    """
    refused = refused if refused is not None else []
    before: KrakenTrade | None = None
    inside: list[KrakenTrade] = []
    after: KrakenTrade | None = None
    for look in _LOOKS:
        since = max(0, begin - look * 1000) * 1_000_000
        before, inside, after = await _walk(page, max(since - 1, 0), begin, until, refused)
        first = next(iter((*inside, *((after,) if after else ()))), None)
        if before is not None or since == 0 or (first is not None and first.trade_id <= 1):
            break
    return before, inside, after


async def _walk(
    page: Pager, since: int, begin: int, until: int, refused: list[RejectedRow]
) -> tuple[KrakenTrade | None, list[KrakenTrade], KrakenTrade | None]:
    before: KrakenTrade | None = None
    inside: list[KrakenTrade] = []
    newest = -1
    for _ in range(MOST_PAGES):
        found, cursor = await page(since)
        rows = found.rows
        refused += found.refused
        for trade in rows:
            if trade.trade_id <= newest:
                continue  # pages overlap where trades share a time
            newest = trade.trade_id
            if trade.ms < begin:
                before = trade
            elif trade.ms < until:
                inside.append(trade)
            else:
                return before, inside, trade
        if not (rows or found.refused) or cursor <= since:
            return before, inside, None
        since = cursor
    raise MalformedAnswer(f"a span has more than {MOST_PAGES * 1000:,} trades")
