"""Coinbase Exchange's bodies into frames: candles come newest first, as time, low, high, open, close, volume."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

import msgspec
import polars as pl

from crypto_pipeline.market.bars import TRADE_SCHEMA, UTC_MS
from crypto_pipeline.venues.protocol import FetchPlan, Listing, ListingStatus, MalformedAnswer
from crypto_pipeline.venues.rest_venue import bar_frame
from crypto_pipeline.venues.stamps import iso_ms

#: time (s), low, high, open, close, volume
Candle = tuple[int, float, float, float, float, float]
_CANDLES = msgspec.json.Decoder(list[Candle], strict=False)


class Trade(msgspec.Struct):
    """One trade. ``side`` is the maker's."""

    trade_id: int
    side: str
    size: float
    price: float
    time: str
    ms: int = 0


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


_TRADES = msgspec.json.Decoder(list[Trade], strict=False)
_PRODUCTS = msgspec.json.Decoder(list[_Product])
_TIME = msgspec.json.Decoder(_Time)
_MESSAGE = msgspec.json.Decoder(_Message)


def parse_time(body: bytes) -> float:
    """Unix ms of a /time body."""
    try:
        return _TIME.decode(body).epoch * 1000
    except msgspec.MsgspecError as error:
        raise MalformedAnswer(f"time: {error}") from error


def parse_message(body: bytes) -> str | None:
    """Text of an error body; None when it is something else."""
    try:
        return _MESSAGE.decode(body).message
    except msgspec.MsgspecError:
        return None


def parse_candles(body: bytes) -> list[Candle]:
    """Rows of a candles body, newest first as they come."""
    try:
        return _CANDLES.decode(body)
    except msgspec.MsgspecError as error:
        raise MalformedAnswer(f"candles: {error}") from error


def frame_of_candles(
    rows: list[Candle], plan: FetchPlan, start_ms: int, end_ms: int, revision: datetime
) -> pl.DataFrame:
    """BAR_SCHEMA frame of the rows inside ``[start, end)``, oldest first; rows from before the start do appear."""
    # A bucket in which nothing traded is left out there; should one come all the same, it states no bar.
    kept = [row for row in reversed(rows) if start_ms <= row[0] * 1000 < end_ms and row[5] > 0]
    columns: dict[str, list[Any]] = {
        "open_time": [row[0] * 1000 for row in kept],
        "open": [row[3] for row in kept],
        "high": [row[2] for row in kept],
        "low": [row[1] for row in kept],
        "close": [row[4] for row in kept],
        "volume": [row[5] for row in kept],
    }
    return bar_frame(columns, plan.instrument, plan.timeframe, revision)


def parse_trades(body: bytes) -> list[Trade]:
    """Rows of a trades body, newest first as they come, each with its time in ms."""
    try:
        rows = _TRADES.decode(body)
        for row in rows:
            row.ms = iso_ms(row.time)
            if row.side not in ("buy", "sell"):
                raise MalformedAnswer(f"trades: side {row.side!r}")
    except (msgspec.MsgspecError, ValueError) as error:
        raise MalformedAnswer(f"trades: {error}") from error
    if any(older.trade_id >= newer.trade_id for newer, older in pairwise(rows)):
        raise MalformedAnswer("trades: ids do not fall")
    return rows


def frame_of_trades(rows: list[Trade], instrument: str) -> pl.DataFrame:
    """TRADE_SCHEMA frame of rows with rising ids. A maker that sold was met by a taker that bought."""
    ids = [row.trade_id for row in rows]
    return pl.DataFrame(
        {
            "instrument": [instrument] * len(rows),
            "trade_id": ids,
            "first_id": ids,
            "last_id": ids,
            "time": [row.ms for row in rows],
            "price": [row.price for row in rows],
            "quantity": [row.size for row in rows],
            "taker_side": ["buy" if row.side == "sell" else "sell" for row in rows],
        },
        schema_overrides={**TRADE_SCHEMA, "time": pl.Int64()},
    ).with_columns(pl.col("time").cast(UTC_MS))


def parse_products(body: bytes) -> list[Listing]:
    """Every product as a listing."""
    try:
        return [_listing(product) for product in _PRODUCTS.decode(body)]
    except msgspec.MsgspecError as error:
        raise MalformedAnswer(f"products: {error}") from error


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
        tick_size=decimal(product.quote_increment),
        lot_size=decimal(product.base_increment),
    )


def decimal(text: str | None) -> Decimal | None:
    """A number that a venue writes as text."""
    if text is None:
        return None
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise MalformedAnswer(f"{text!r} is not a number") from error
