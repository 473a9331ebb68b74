"""All aggregate trades of a span: the first page by time, further pages by id, as many trades share a millisecond."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import polars as pl

from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.venues.binance import parse
from crypto_pipeline.venues.binance.parse import AggTrade
from crypto_pipeline.venues.client.http import Params
from crypto_pipeline.venues.protocol import MalformedAnswer, TradesAnswer
from crypto_pipeline.venues.trade_rows import MOST_PAGES, TradePage

#: Requests one page; parameters are some of startTime, endTime, fromId and limit.
Pager = Callable[[Params], Awaitable[TradePage[AggTrade]]]
LIMIT = 1000


async def fetch_trades(page: Pager, instrument: str, start: datetime, end: datetime) -> TradesAnswer:
    """All aggregate trades of ``[start, end)`` (UTC), with the ids before and after them. Raises MalformedAnswer."""
    begin, until = unix_ms(start), unix_ms(end)
    got = await page({"startTime": begin, "limit": LIMIT})
    first = got.rows[0].trade_id if got.rows else None
    kept = [parse.frame_of_trades([], instrument)]
    refused = list(got.refused)
    after: AggTrade | None = None
    known = 0
    for _ in range(MOST_PAGES):
        rows = got.rows
        kept.append(parse.frame_of_trades([row for row in rows if begin <= row.ms < until], instrument))
        after = next((row for row in rows if row.ms >= until), None)
        # A short page usually ends with the newest trade, but the venue may also cut a page. So only an empty page ends
        # the search.
        upcoming = rows[-1].trade_id + 1 if rows else got.beyond(known)
        if after is not None or upcoming is None:
            break
        known = upcoming if rows else upcoming + 1
        got = await page({"fromId": known, "limit": LIMIT})
        refused += got.refused
        if got.rows and got.rows[0].trade_id < known:
            raise MalformedAnswer(f"aggTrades of {instrument}: asked from id {known}, got {got.rows[0].trade_id}")
    else:
        raise MalformedAnswer(
            f"aggTrades of {instrument} from {start} to {end}: more than {MOST_PAGES * LIMIT:,} trades"
        )
    before = await _before(page, first, begin)
    ids = (before.trade_id if before else None, after.trade_id if after else None)
    singles = (before.last_id if before else None, after.first_id if after else None)
    return TradesAnswer(start, end, pl.concat(kept), *ids, *singles, tuple(refused), instrument=instrument)


async def _before(page: Pager, first: int | None, begin: int) -> AggTrade | None:
    """The last trade before the span. Its id may be more than one below the first trade in or after the span."""
    if first == 0:
        return None
    if first is not None:
        rows = (await page({"fromId": first - 1, "limit": 1})).rows
        if rows and rows[-1].trade_id < first and rows[-1].ms < begin:
            return rows[-1]
    # No trade came since, or the venue hides the trade with the previous id (the jump of the ids shows that).
    rows = (await page({"endTime": begin - 1, "limit": 1})).rows
    return rows[-1] if rows and rows[-1].ms < begin else None
