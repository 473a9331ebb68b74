"""Kraken's bodies into frames. Errors come with HTTP 200, and results under a name of Kraken's own choice."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Any

import msgspec
import polars as pl

from crypto_pipeline.market.bars import TRADE_SCHEMA, UTC_MS
from crypto_pipeline.venues.coinbase_parse import decimal
from crypto_pipeline.venues.http import Answer, RateLimited
from crypto_pipeline.venues.kraken_names import split_pair
from crypto_pipeline.venues.protocol import (
    FetchPlan,
    Listing,
    ListingStatus,
    MalformedAnswer,
    UnknownSymbol,
    VenueError,
    VenueUnavailable,
)
from crypto_pipeline.venues.rest_venue import bar_frame

#: time (s), open, high, low, close, vwap, volume, count
OhlcRow = tuple[int, float, float, float, float, float, float, int]
# price, volume, time (s), b|s, m|l, misc, id
_TradeRow = tuple[float, float, float, str, str, str, int]
_PAUSE, _LONG_PAUSE = 5.0, 60.0


class Trade(msgspec.Struct, gc=False):
    """One trade, its side the taker's."""

    trade_id: int
    ms: int
    price: float
    volume: float
    taker_buy: bool


class _Errors(msgspec.Struct):
    error: list[str] = []


class _Ohlc(msgspec.Struct):
    result: dict[str, list[OhlcRow] | int]


class _Trades(msgspec.Struct):
    result: dict[str, list[_TradeRow] | str]


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


class _Pairs(msgspec.Struct):
    result: dict[str, _Pair]


_ERRORS = msgspec.json.Decoder(_Errors)
_OHLC = msgspec.json.Decoder(_Ohlc, strict=False)
_TRADES = msgspec.json.Decoder(_Trades, strict=False)
_TIME = msgspec.json.Decoder(_TimeBody)
_SYSTEM = msgspec.json.Decoder(_SystemBody)
_PAIRS = msgspec.json.Decoder(_Pairs)


def refusal(answer: Answer) -> VenueError | None:
    """The error in a body that came with HTTP 200; warnings (``W…``) are none."""
    try:
        errors = _ERRORS.decode(answer.body).error
    except msgspec.MsgspecError as error:
        return MalformedAnswer(f"{answer.url}: {error}")
    bad = [text for text in errors if not text.startswith("W")]
    if not bad:
        return None
    text = f"Kraken refused {answer.url}: {', '.join(bad)}"
    said = " ".join(bad)
    if "Unknown asset pair" in said or "Unknown asset" in said:
        return UnknownSymbol(text)
    if throttled := re.search(r"Throttled: ?(\d+)", said):
        wait = int(throttled[1]) - time.time()  # a Unix time, until which nothing is answered
        return RateLimited(text, retry_after=min(max(wait, 1.0), _LONG_PAUSE))
    if "Too many requests" in said or "Rate limit" in said:
        return RateLimited(text, retry_after=_PAUSE)
    if "EService" in said or "EGeneral:Internal error" in said:
        return VenueUnavailable(text)
    return VenueError(text, permanent=True)


def parse_ohlc(body: bytes) -> tuple[list[OhlcRow], int]:
    """Committed rows, oldest first, and the open time of the newest of them. The running row is left out."""
    try:
        result = _OHLC.decode(body).result
    except msgspec.MsgspecError as error:
        raise MalformedAnswer(f"OHLC: {error}") from error
    rows, last = _only(result), result.get("last")
    if not isinstance(last, int):
        raise MalformedAnswer("OHLC: no 'last'")
    return [row for row in rows if row[0] <= last], last


def _only(result: dict[str, Any]) -> list[Any]:
    """The one result that is not ``last``: it goes by the pair's key, which is rarely the name that was asked for."""
    found = [value for name, value in result.items() if name != "last"]
    if len(found) != 1 or not isinstance(found[0], list):
        raise MalformedAnswer(f"one result was expected, not {', '.join(result) or 'none'}")
    return found[0]


def frame_of_ohlc(rows: list[OhlcRow], plan: FetchPlan, revision: datetime) -> pl.DataFrame:
    """BAR_SCHEMA frame of rows, oldest first. The quote volume is not stated (vwap is rounded)."""
    columns: dict[str, list[Any]] = {
        "open_time": [row[0] * 1000 for row in rows],
        "open": [row[1] for row in rows],
        "high": [row[2] for row in rows],
        "low": [row[3] for row in rows],
        "close": [row[4] for row in rows],
        "volume": [row[6] for row in rows],
        "trade_count": [row[7] for row in rows],
    }
    return bar_frame(columns, plan.instrument, plan.timeframe, revision)


def parse_trades(body: bytes) -> tuple[list[Trade], int]:
    """Trades in rising order of their ids, each once, and the cursor (ns) of the next page."""
    try:
        result = _TRADES.decode(body).result
        last = int(str(result.get("last")))
    except (msgspec.MsgspecError, ValueError) as error:
        raise MalformedAnswer(f"Trades: {error}") from error
    # The time is a float with about 100 ns of noise: whole microseconds first, then cut to milliseconds.
    trades = {
        number: Trade(number, round(seconds * 1_000_000) // 1000, price, volume, side == "b")
        for price, volume, seconds, side, _, _, number in _only(result)
    }
    return [trades[number] for number in sorted(trades)], last


def frame_of_trades(trades: list[Trade], instrument: str) -> pl.DataFrame:
    """TRADE_SCHEMA frame, ids rising."""
    ids = [trade.trade_id for trade in trades]
    return pl.DataFrame(
        {
            "instrument": [instrument] * len(ids),
            "trade_id": ids,
            "first_id": ids,
            "last_id": ids,
            "time": [trade.ms for trade in trades],
            "price": [trade.price for trade in trades],
            "quantity": [trade.volume for trade in trades],
            "taker_side": ["buy" if trade.taker_buy else "sell" for trade in trades],
        },
        schema_overrides={**TRADE_SCHEMA, "time": pl.Int64()},
    ).with_columns(pl.col("time").cast(UTC_MS))


def parse_time(body: bytes) -> float:
    """Unix ms of a Time body (whole seconds)."""
    try:
        return _TIME.decode(body).result.unixtime * 1000.0
    except msgspec.MsgspecError as error:
        raise MalformedAnswer(f"Time: {error}") from error


def parse_status(body: bytes) -> str:
    """What the system says of itself: online, maintenance, cancel_only, post_only."""
    try:
        return _SYSTEM.decode(body).result.status
    except msgspec.MsgspecError as error:
        raise MalformedAnswer(f"SystemStatus: {error}") from error


def parse_pairs(body: bytes) -> list[Listing]:
    """Every pair with a stream name, under the names that everyone else uses; its venue symbol is ``BTC/USD``."""
    try:
        pairs = _PAIRS.decode(body).result
    except msgspec.MsgspecError as error:
        raise MalformedAnswer(f"AssetPairs: {error}") from error
    return [_listing(pair) for pair in pairs.values() if "/" in pair.wsname]


def _listing(pair: _Pair) -> Listing:
    base, quote = split_pair(pair.wsname)
    trading = pair.status in ("online", "limit_only", "post_only", "reduce_only")
    tick = decimal(pair.tick_size) if pair.tick_size else _step(pair.pair_decimals)
    return Listing(
        venue_symbol=f"{base}/{quote}",
        base=base,
        quote=quote,
        status=ListingStatus.TRADING if trading else ListingStatus.PAUSED,
        tick_size=tick,
        lot_size=_step(pair.lot_decimals),
    )


def _step(decimals: int | None) -> Any:
    return None if decimals is None else decimal(f"1e-{decimals}")
