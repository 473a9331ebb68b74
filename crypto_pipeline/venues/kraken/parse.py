"""Reads Kraken's response bodies into frames. Errors come with HTTP 200, and results under Kraken's name of the pair.

A row that is unreadable or invalid is rejected with a reason, and the other rows are used.
Source: https://docs.kraken.com/api (OHLC, Trades, AssetPairs, Time, SystemStatus).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec
import polars as pl

from crypto_pipeline.market.sanity import MAX_MS, trade_fault
from crypto_pipeline.venues.client.responses import HttpResponse, RateLimited
from crypto_pipeline.venues.client.rest_venue import bar_frame
from crypto_pipeline.venues.decoding import UNREADABLE, decode, decode_list, decode_rows, raw_fields, raw_rows, whole
from crypto_pipeline.venues.kraken.names import split_pair
from crypto_pipeline.venues.listing_rows import decimal_or_none, read_listings
from crypto_pipeline.venues.protocol import (
    FetchPlan,
    Listing,
    ListingStatus,
    MalformedAnswer,
    RejectedRow,
    UnknownSymbol,
    VenueError,
    VenueUnavailable,
    shorten,
)
from crypto_pipeline.venues.trade_rows import TradePage, page_of

#: time (s), open, high, low, close, vwap, volume, count
OhlcRow = tuple[int, float, float, float, float, float, float, int]
_PLACES = {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 6, "trade_count": 7}
# price, volume, time (s), b|s, m|l, misc, id
_TradeRow = tuple[float, float, float, str, str, str, int]
_PAUSE, _LONG_PAUSE = 5.0, 60.0


class KrakenTrade(msgspec.Struct, gc=False):
    """One trade; ``side`` is the taker's side."""

    trade_id: int
    ms: int
    price: float
    quantity: float
    taker_buy: bool
    side: str = "b"


class _Errors(msgspec.Struct):
    error: list[str] = []


class _Time(msgspec.Struct):
    unixtime: int


class _TimeBody(msgspec.Struct):
    result: _Time


class _System(msgspec.Struct):
    status: str


class _SystemBody(msgspec.Struct):
    result: _System


class _Pair(msgspec.Struct):
    wsname: str = ""
    status: str = "online"
    tick_size: str | None = None
    pair_decimals: int | None = None
    lot_decimals: int | None = None


_ERRORS = msgspec.json.Decoder(_Errors)
_OHLC, _OHLC_ROW = msgspec.json.Decoder(list[OhlcRow], strict=False), msgspec.json.Decoder(OhlcRow, strict=False)
_TRADES = msgspec.json.Decoder(list[_TradeRow], strict=False)
_TRADE_ROW = msgspec.json.Decoder(_TradeRow, strict=False)
_TIME = msgspec.json.Decoder(_TimeBody)
_SYSTEM = msgspec.json.Decoder(_SystemBody)
_PAIR, _ANY = msgspec.json.Decoder(_Pair), msgspec.json.Decoder()


def read_refusal(answer: HttpResponse) -> VenueError | None:
    """The error in a body that came with HTTP 200; None without one. Warnings (``W…``) are not errors."""
    try:
        errors = decode(_ERRORS, answer.body, answer.url).error
    except MalformedAnswer as error:
        return error
    bad = [text for text in errors if not text.startswith("W")]
    if not bad:
        return None
    said = shorten(" ".join(bad[:20]), 500)
    text = f"Kraken refused {answer.url}: {said}"
    if "Unknown asset pair" in said or "Unknown asset" in said:
        return UnknownSymbol(text)
    if throttled := re.search(r"Throttled: ?(\d{1,12})", said):
        wait = int(throttled[1]) - answer.server_time  # the Unix time at which the throttling ends
        return RateLimited(text, retry_after=min(max(wait, 1.0), _LONG_PAUSE))
    if "Too many requests" in said or "Rate limit" in said:
        return RateLimited(text, retry_after=_PAUSE)
    if "EService" in said or "EGeneral:Internal error" in said:
        return VenueUnavailable(text)
    return VenueError(text, permanent=True)


def parse_ohlc(body: bytes) -> tuple[list[OhlcRow], int, list[RejectedRow]]:
    """Rows of ended bars as sent, the open time (Unix s) of the newest of them, and the unreadable rows.

    The row of the current bar is left out. Raises MalformedAnswer.
    """
    fields = _result(body, "OHLC")
    last = whole(decode(_ANY, fields["last"], "OHLC, last")) if "last" in fields else None
    if last is None or not 0 <= last * 1000 < MAX_MS:
        raise MalformedAnswer("OHLC: no 'last', or not a time")
    refused: list[RejectedRow] = []
    stated = _only(fields, "OHLC")
    try:
        rows = _OHLC.decode(stated)
    except UNREADABLE:
        rows, refused = decode_rows(raw_rows(stated, "OHLC"), _OHLC_ROW, "OHLC", lambda row: _row_ms(row[0]), some=True)
    return [row for row in rows if row[0] <= last or row[0] * 1000 >= MAX_MS], last, refused


def _result(body: bytes, where: str) -> dict[str, msgspec.Raw]:
    fields = raw_fields(body, where)
    if "result" not in fields:
        raise MalformedAnswer(f"{where}: no result")
    return raw_fields(fields["result"], f"{where}, result")


def _only(fields: dict[str, msgspec.Raw], where: str) -> msgspec.Raw:
    """The only result besides ``last``. Its key is Kraken's name of the pair, which may differ from the requested
    one.
    """
    found = [value for name, value in fields.items() if name != "last"]
    if len(found) != 1:
        raise MalformedAnswer(f"{where}: one result was expected, not {shorten(', '.join(fields)) or 'none'}")
    return found[0]


def _row_ms(stated: Any) -> int | None:
    seconds = whole(stated)
    return seconds * 1000 if seconds is not None and 0 <= seconds * 1000 < MAX_MS else None


def frame_of_ohlc(
    rows: list[OhlcRow], plan: FetchPlan, revision: datetime, span: tuple[int, int]
) -> tuple[pl.DataFrame, list[RejectedRow]]:
    """BAR_SCHEMA frame of rows, oldest first, and the rows that are not valid bars of ``span`` (Unix ms).

    The quote volume is null: the venue states only a rounded vwap.
    """
    return bar_frame(rows, _PLACES, plan.instrument, plan.timeframe, revision, span)


def parse_trades(body: bytes) -> tuple[TradePage[KrakenTrade], int]:
    """Trades by rising ids, each once, and the cursor (Unix ns) of the next page. Raises MalformedAnswer."""
    fields = _result(body, "Trades")
    last = whole(decode(_ANY, fields["last"], "Trades, last")) if "last" in fields else None
    if last is None or not 0 <= last <= MAX_MS * 1_000_000:
        raise MalformedAnswer("Trades: no 'last', or not a time")
    stated = _only(fields, "Trades")
    rows, refused = decode_list(
        _TRADES, _TRADE_ROW, stated, "Trades", lambda row: round(float(row[2]) * 1000), lambda row: whole(row[6])
    )
    return page_of([_trade(row) for row in rows], refused, _trade_fault), last


def _trade(row: _TradeRow) -> KrakenTrade:
    price, volume, seconds, side, _, _, number = row
    # The time is a float with an error of about 100 ns: round to microseconds first, then cut to milliseconds.
    ms = round(seconds * 1_000_000) // 1000 if 0 <= seconds < MAX_MS else -1
    return KrakenTrade(number, ms, price, volume, side == "b", side)


def _trade_fault(row: KrakenTrade) -> str | None:
    if row.side not in ("b", "s"):
        return f"its side is {shorten(row.side, 40)!r}"
    number = row.trade_id
    return trade_fault(number, number, number, row.ms, row.price, row.quantity)


def parse_server_time(body: bytes) -> float:
    """The venue's time (Unix ms, whole seconds) of a Time body. Raises MalformedAnswer."""
    ms = decode(_TIME, body, "Time").result.unixtime * 1000
    if not 0 <= ms < MAX_MS:
        raise MalformedAnswer(f"Time: {ms} ms is in another unit")
    return float(ms)


def parse_status(body: bytes) -> str:
    """The system's state: online, maintenance, cancel_only or post_only."""
    return shorten(decode(_SYSTEM, body, "SystemStatus").result.status)


def parse_pairs(body: bytes) -> list[Listing]:
    """All pairs with a stream name, with common asset names; the venue symbol is of the form ``BTC/USD``.

    An unreadable entry is logged and skipped. Raises MalformedAnswer.
    """
    entries = _result(body, "AssetPairs")
    return read_listings("Kraken", entries.values(), _pair, "wsname")


def _pair(raw: msgspec.Raw) -> Listing | None:
    pair = _PAIR.decode(raw)
    return _listing(pair) if "/" in pair.wsname else None


def _listing(pair: _Pair) -> Listing:
    base, quote = split_pair(pair.wsname)
    trading = pair.status in ("online", "limit_only", "post_only", "reduce_only")
    tick = decimal_or_none(pair.tick_size) if pair.tick_size else _step(pair.pair_decimals)
    return Listing(
        venue_symbol=f"{base}/{quote}",
        base=base,
        quote=quote,
        status=ListingStatus.TRADING if trading else ListingStatus.PAUSED,
        tick_size=tick,
        lot_size=_step(pair.lot_decimals),
    )


def _step(decimals: int | None) -> Any:
    if decimals is None:
        return None
    if not 0 <= decimals <= 30:
        raise ValueError(f"it has {decimals} decimals")
    return decimal_or_none(f"1e-{decimals}")
