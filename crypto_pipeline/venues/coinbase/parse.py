"""Reads Coinbase's response bodies into frames: candles come newest first, as time, low, high, open, close, volume.

A row that is unreadable or invalid is rejected with a reason, and the other rows are used.
Source: https://docs.cdp.coinbase.com/exchange/reference.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import polars as pl

from crypto_pipeline.market.sanity import MAX_MS, trade_fault
from crypto_pipeline.venues.client.rest_venue import bar_frame
from crypto_pipeline.venues.client.timestamps import iso_ms
from crypto_pipeline.venues.decoding import UNREADABLE, decode, decode_list, decode_rows, raw_rows, whole
from crypto_pipeline.venues.listing_rows import decimal_or_none, read_listings
from crypto_pipeline.venues.protocol import FetchPlan, Listing, ListingStatus, MalformedAnswer, RejectedRow, shorten
from crypto_pipeline.venues.trade_rows import TradePage, page_of

#: time (s), low, high, open, close, volume
Candle = tuple[int, float, float, float, float, float]
_PLACES = {"open": 3, "high": 2, "low": 1, "close": 4, "volume": 5}
_CANDLES = msgspec.json.Decoder(list[Candle], strict=False)
_CANDLE = msgspec.json.Decoder(Candle, strict=False)


class CoinbaseTrade(msgspec.Struct):
    """One trade; ``side`` is the maker's side."""

    trade_id: int
    side: str
    price: float
    time: str
    quantity: float = msgspec.field(name="size")
    #: Unix milliseconds, from ``time``
    ms: int = 0

    @property
    def taker_buy(self) -> bool:
        """A maker that sold was met by a taker that bought."""
        return self.side == "sell"


class _Product(msgspec.Struct):
    id: str
    base_currency: str
    quote_currency: str
    status: str = "online"
    quote_increment: str | None = None
    base_increment: str | None = None
    trading_disabled: bool = False


class _Time(msgspec.Struct):
    epoch: float


class _Message(msgspec.Struct):
    message: str


_TRADES = msgspec.json.Decoder(list[CoinbaseTrade], strict=False)
_TRADE = msgspec.json.Decoder(CoinbaseTrade, strict=False)
_PRODUCT = msgspec.json.Decoder(_Product)
_TIME = msgspec.json.Decoder(_Time)
_MESSAGE = msgspec.json.Decoder(_Message)


def parse_server_time(body: bytes) -> float:
    """The venue's time (Unix ms) of a /time body. Raises MalformedAnswer."""
    ms = decode(_TIME, body, "time").epoch * 1000
    if not 0 <= ms < MAX_MS:
        raise MalformedAnswer(f"time: {ms:g} ms is in another unit")
    return ms


def parse_message(body: bytes) -> str | None:
    """Text of an error body; None for other bodies."""
    try:
        return shorten(_MESSAGE.decode(body).message)
    except UNREADABLE:
        return None


def parse_candles(body: bytes) -> tuple[list[Candle], list[RejectedRow]]:
    """Rows of a candles body, newest first as sent, and the unreadable rows. Raises MalformedAnswer."""
    try:
        return _CANDLES.decode(body), []
    except UNREADABLE:
        return decode_rows(raw_rows(body, "candles"), _CANDLE, "candles", lambda row: _row_ms(row[0]), some=True)


def frame_of_candles(
    rows: list[Candle], plan: FetchPlan, start_ms: int, end_ms: int, revision: datetime
) -> tuple[pl.DataFrame, list[RejectedRow]]:
    """BAR_SCHEMA frame of the rows inside ``[start_ms, end_ms)`` (Unix ms), oldest first, and the invalid rows.

    The venue also sends rows from before the start; they are ignored.
    """
    # The venue omits minutes without trades; a row without volume is ignored, so such a minute has no bar.
    kept = [
        row
        for row in reversed(rows)
        if (start_ms <= row[0] * 1000 < end_ms or not 0 <= row[0] * 1000 < MAX_MS) and row[5] != 0
    ]
    return bar_frame(kept, _PLACES, plan.instrument, plan.timeframe, revision, (start_ms, end_ms))


def parse_trades(body: bytes) -> TradePage[CoinbaseTrade]:
    """Trades of a trades body by rising ids, and the rejected rows. Raises MalformedAnswer."""
    rows, refused = decode_list(
        _TRADES, _TRADE, body, "trades", lambda row: iso_ms(row["time"]), lambda row: whole(row["trade_id"])
    )
    for row in rows:
        try:
            row.ms = iso_ms(row.time)
        except UNREADABLE:
            row.ms = -1
    return page_of(rows[::-1], refused, _trade_fault)


def _trade_fault(row: CoinbaseTrade) -> str | None:
    if row.side not in ("buy", "sell"):
        return f"its side is {shorten(row.side, 40)!r}"
    if row.ms == -1:
        return f"its time is {shorten(row.time, 40)!r}"
    number = row.trade_id
    return trade_fault(number, number, number, row.ms, row.price, row.quantity)


def _row_ms(stated: Any) -> int | None:
    seconds = whole(stated)
    return seconds * 1000 if seconds is not None and 0 <= seconds * 1000 < MAX_MS else None


def parse_products(body: bytes) -> list[Listing]:
    """All products as listings; an unreadable entry is logged and skipped. Raises MalformedAnswer."""
    return read_listings("Coinbase", raw_rows(body, "products"), lambda raw: _listing(_PRODUCT.decode(raw)), "id")


def _listing(product: _Product) -> Listing:
    if product.status == "delisted":
        status = ListingStatus.DELISTED
    elif product.status == "online" and not product.trading_disabled:
        status = ListingStatus.TRADING
    else:
        status = ListingStatus.PAUSED
    return Listing(
        venue_symbol=product.id,
        base=product.base_currency,
        quote=product.quote_currency,
        status=status,
        tick_size=decimal_or_none(product.quote_increment),
        lot_size=decimal_or_none(product.base_increment),
    )
