"""Rows, markets and trades as ccxt reads them, as bars, listings and trades of ours."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import polars as pl

from crypto_pipeline.market.sanity import MAX_MS, trade_fault
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues.ccxt.bar_pages import Row
from crypto_pipeline.venues.ccxt.market_rows import UnreadableRow
from crypto_pipeline.venues.ccxt.trade_pages import CcxtTrade
from crypto_pipeline.venues.client.rest_venue import bar_frame
from crypto_pipeline.venues.decoding import UNREADABLE
from crypto_pipeline.venues.listing_rows import check_listing
from crypto_pipeline.venues.protocol import Listing, ListingStatus, RejectedRow, shorten
from crypto_pipeline.venues.trade_rows import trade_frame

log = logging.getLogger(__name__)

#: Characters that no currency has in its name, but lists and objects written as text.
_NOT_IN_NAMES = frozenset("[]{}'\" \t\n")
#: Where in a row the values of a bar stand.
_PLACES = {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 5}


def is_row(row: Any) -> bool:
    """Whether it has a time in Unix ms and the values of a bar; these may be anything."""
    return isinstance(row, list) and len(row) >= 6 and isinstance(row[0], int) and 0 <= row[0] < MAX_MS


def frame_of_rows(
    rows: Sequence[Row], instrument: str, timeframe: Timeframe, stated: datetime, span: tuple[int, int]
) -> tuple[pl.DataFrame, list[RejectedRow]]:
    """BAR_SCHEMA frame of rows, and those that cannot be. ccxt gives None for a number that it cannot read."""
    whole = [
        [row[0] // 1000, *(float("nan") if value is None else value for value in row[1:6])]
        for row in rows
        if row[0] % 1000 == 0
    ]
    frame, refused = bar_frame(whole, _PLACES, instrument, timeframe, stated, span)
    odd = [
        RejectedRow(row[0], "it does not open at a whole second", shorten(repr(row))) for row in rows if row[0] % 1000
    ]
    return frame, [*refused, *odd]


def usable_markets(markets: Any) -> tuple[list[dict[str, Any]], list[UnreadableRow]]:
    """The markets that have names and precision, one of each symbol, and the others.

    Of several with one symbol the one that is traded stays; of several such the one whose name is the shortest, and
    then the first in the alphabet, however the exchange orders them. Raises TypeError for what is not a list.
    """
    if not isinstance(markets, list):
        raise TypeError(f"its markets are {shorten(repr(markets), 40)}, not a list")
    judged = [(market, _market_fault(market)) for market in markets]
    unusable = [UnreadableRow(_stated(market), why) for market, why in judged if why]
    usable = [market for market, why in judged if not why]
    chosen: dict[str, dict[str, Any]] = {}
    for market in sorted(usable, key=_preference):
        if chosen.setdefault(market["symbol"], market) is not market:
            unusable.append(UnreadableRow(_stated(market), f"another market is {market['symbol']} too"))
    return [market for market in usable if chosen[market["symbol"]] is market], unusable


def _stated(market: Any) -> Any:
    """What the exchange states of a market, where ccxt keeps it."""
    return market.get("info", market) if isinstance(market, dict) else market


def _preference(market: dict[str, Any]) -> tuple[bool, int, str]:
    return market.get("active") is False, len(market["id"]), market["id"]


def _market_fault(market: Any) -> str | None:
    """Why a market cannot be used, or None."""
    if not isinstance(market, dict):
        return "it is not a market"
    for field in ("id", "symbol", "base", "quote"):
        if not isinstance(market.get(field), str) or not market[field]:
            return f"its {field} is {shorten(repr(market.get(field)), 40)}"
    for field in ("base", "quote"):  # ccxt makes text of everything
        if set(market[field]) & _NOT_IN_NAMES:
            return f"its {field} is {shorten(repr(market[field]), 40)}"
    precision = market.get("precision") or {}
    if not isinstance(precision, dict):
        return f"its precision is {shorten(repr(precision), 40)}"
    for field, step in precision.items():
        if step is not None and (not isinstance(step, int | float) or math.isnan(step)):
            return f"its precision of {field} is {shorten(repr(step), 40)}"
    return None


def read_markets(name: str, markets: Iterable[dict[str, Any]], *, steps: bool) -> list[Listing]:
    """The listings of spot markets of the venue ``name``; one that cannot be read is logged and skipped.

    ``steps``: precision has steps, not numbers of digits.
    """
    listings = []
    for market in markets:
        try:
            if market.get("spot"):
                listings.append(check_listing(_listing(market, steps=steps)))
        except UNREADABLE as error:
            said = shorten(f"{error!r} of {market!r}")
            log.warning("%s: a listing cannot be read and is skipped: %s", name, said)
    return listings


def _listing(market: dict[str, Any], *, steps: bool) -> Listing:
    return Listing(
        venue_symbol=str(market["symbol"]),
        base=str(market["base"]),
        quote=str(market["quote"]),
        status=ListingStatus.PAUSED if market.get("active") is False else ListingStatus.TRADING,
        tick_size=_step(market, "price") if steps else None,
        lot_size=_step(market, "amount") if steps else None,
    )


def _step(market: dict[str, Any], which: str) -> Decimal | None:
    """The step of prices or amounts."""
    stated = (market.get("precision") or {}).get(which)
    step = Decimal(str(stated)) if isinstance(stated, int | float) else None
    return step if step is not None and step.is_finite() and step > 0 else None


def read_trade(row: dict[str, Any]) -> CcxtTrade:
    """A trade of ccxt. Raises ValueError and others of UNREADABLE for one that cannot be."""
    number, side = row["id"], row["side"]
    if number is None or side not in ("buy", "sell"):
        raise ValueError(f"a trade has the id {number!r} and the side {side!r}")
    trade = CcxtTrade(str(number), int(row["timestamp"]), float(row["price"]), float(row["amount"]), side == "buy")
    if why := trade_fault(1, 1, 1, trade.ms, trade.price, trade.quantity):
        raise ValueError(f"trade {number}: {why}")
    return trade


def stable_number(trade: CcxtTrade) -> int:
    """A number below 2**56 that a trade has on every connection: made from its id, which may be any text."""
    return int.from_bytes(hashlib.blake2b(trade.number.encode(), digest_size=7).digest())


def frame_of_trades(rows: list[CcxtTrade], instrument: str) -> pl.DataFrame:
    """TRADE_SCHEMA frame. The exchange's ids need not be numbers; as no trade is missing, ours rise by one."""
    first = rows[0].ms if rows else 0
    return trade_frame(
        instrument,
        [first + place for place in range(len(rows))],
        [row.ms for row in rows],
        [row.price for row in rows],
        [row.quantity for row in rows],
        [row.taker_buy for row in rows],
    )
