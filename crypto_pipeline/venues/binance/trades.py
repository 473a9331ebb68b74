"""All aggregate trades of a span: the first page by time, the others by id, because many trades share a millisecond."""

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

#: Asks for one page with these of startTime, endTime, fromId, limit.
Pager = Callable[[Params], Awaitable[TradePage[AggTrade]]]
LIMIT = 1000


async def fetch_trades(page: Pager, instrument: str, start: datetime, end: datetime) -> TradesAnswer:
    """Every aggregate trade of ``[start, end)`` with the ids on either side."""
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
        # A short page by id is the newest trade there is: nothing can be missing in the middle of an id range,
        # but a page may be cut short, so only an empty one ends the search.
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
    """The last trade before the span; its id is not always one less than that of the first trade inside or after it."""
    if first == 0:
        return None
    if first is not None:
        rows = (await page({"fromId": first - 1, "limit": 1})).rows
        if rows and rows[-1].trade_id < first and rows[-1].ms < begin:
            return rows[-1]
    # Nothing came since, or the id just before is not shown (trades are hidden: the jump is the proof of it).
    rows = (await page({"endTime": begin - 1, "limit": 1})).rows
    return rows[-1] if rows and rows[-1].ms < begin else None
