"""Reads Binance's response bodies into frames. Each row is checked; numbers are read as correctly rounded doubles.

A row that is unreadable or invalid is rejected with a reason, and the other rows are used. A body that is not a list of
rows raises MalformedAnswer. Source: Binance's REST documentation (klines, aggTrades, exchangeInfo, time).
"""

from __future__ import annotations

import logging
import re
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from crypto_pipeline.market.bars import BAR_SCHEMA, OPTIONAL_COLUMNS, UTC_MS, BarOrigin
from crypto_pipeline.market.sanity import MAX_MS, trade_fault
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.venues import trade_rows
from crypto_pipeline.venues.bar_rows import sift
from crypto_pipeline.venues.client.responses import RateLimited
from crypto_pipeline.venues.decoding import (
    UNREADABLE,
    decode,
    decode_list,
    decode_rows,
    quoted,
    raw_fields,
    raw_rows,
    whole,
)
from crypto_pipeline.venues.listing_rows import decimal_or_none, read_listings
from crypto_pipeline.venues.protocol import BudgetLimit, Listing, ListingStatus, MalformedAnswer, RejectedRow, shorten
from crypto_pipeline.venues.trade_rows import TradePage, page_of

log = logging.getLogger(__name__)

#: Times above this are microseconds, those below milliseconds (1e13 ms is the year 2286).
MICROSECONDS_FROM = 10_000_000_000_000

# open time, o, h, l, c, volume, close time, quote volume, trades, taker base, taker quote, ignored.
# Not strict: numbers come as strings, which msgspec then reads as correctly rounded doubles without a Python step.
_Kline = tuple[int, float, float, float, float, float, int, float, int, float, float, float]
_KLINES, _KLINE = msgspec.json.Decoder(list[_Kline], strict=False), msgspec.json.Decoder(_Kline, strict=False)
_PAUSED = frozenset({"HALT", "BREAK", "CANCEL_ONLY", "PRE_TRADING", "POST_TRADING", "END_OF_DAY", "AUCTION_MATCH"})


class AggTradeFields(msgspec.Struct):
    """What REST and streams state of an aggregate trade; unknown keys are ignored."""

    trade_id: int = msgspec.field(name="a")
    price: float = msgspec.field(name="p")
    quantity: float = msgspec.field(name="q")
    first_id: int = msgspec.field(name="f")
    last_id: int = msgspec.field(name="l")
    #: Unix milliseconds, or microseconds
    time: int = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")


class AggTrade(AggTradeFields):
    """One aggregate trade of REST."""

    @property
    def ms(self) -> int:
        """Unix ms of the trade."""
        return self.time // 1000 if self.time > MICROSECONDS_FROM else self.time

    @property
    def taker_buy(self) -> bool:
        """Buyer was maker means that the taker sold."""
        return not self.buyer_is_maker


class _Filter(msgspec.Struct, rename="camel"):
    filter_type: str
    tick_size: str | None = None
    step_size: str | None = None


class _Symbol(msgspec.Struct, rename="camel"):
    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    filters: list[_Filter] = []


class _RateLimit(msgspec.Struct, rename="camel"):
    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int


class ExchangeInfo(msgspec.Struct):
    """The used part of exchangeInfo: all readable limits and symbols."""

    rate_limits: list[_RateLimit]
    symbols: list[Listing]


class ServerTime(msgspec.Struct, rename="camel"):
    """Body of /time."""

    server_time: int


class ErrorBody(msgspec.Struct):
    """Body of a refused request."""

    code: int
    msg: str = ""


_TRADES = msgspec.json.Decoder(list[AggTrade], strict=False)
_TRADE = msgspec.json.Decoder(AggTrade, strict=False)
_SYMBOL, _LIMIT = msgspec.json.Decoder(_Symbol), msgspec.json.Decoder(_RateLimit)
_TIME = msgspec.json.Decoder(ServerTime)
_ERROR = msgspec.json.Decoder(ErrorBody)
_SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86400}


def parse_klines(body: bytes) -> tuple[NDArray[np.float64], list[RejectedRow]]:
    """Rows of a klines body (float64, n × 12), and the rejected rows. Raises MalformedAnswer."""
    refused: list[RejectedRow] = []
    try:
        read = _KLINES.decode(body)
        rows = np.fromiter(chain.from_iterable(read), np.float64, 12 * len(read))  # quicker than np.array
    except UNREADABLE:
        read, refused = decode_rows(raw_rows(body, "klines"), _KLINE, "klines", lambda row: _row_ms(row[0]), some=True)
        # a whole number too large for a double is neither a time nor a count
        fit = [all(abs(value) < 1e300 for value in row) for row in read]
        refused += [
            RejectedRow(None, "klines: a number is too large", quoted(row))
            for row, good in zip(read, fit, strict=True)
            if not good
        ]
        rows = np.array([row for row, good in zip(read, fit, strict=True) if good], dtype=np.float64)
    # Times (< 2^53) and counts are exact in a double.
    return rows.reshape(-1, 12), refused


def kline_open(body: bytes) -> int | None:
    """Open time (Unix ms) of the last row of a klines body; None if it has no rows."""
    rows, refused = parse_klines(body)
    if not len(rows):
        if refused:
            raise MalformedAnswer(refused[0].reason)
        return None
    return _plausible_ms(rows[-1, 0], "klines")


def frame_of_klines(
    rows: NDArray[np.float64],
    instrument: str,
    timeframe: Timeframe,
    revision: datetime,
    span: tuple[int, int] | None = None,
) -> tuple[pl.DataFrame, list[RejectedRow]]:
    """BAR_SCHEMA frame of parsed rows, oldest first, and the rows that are not valid bars of ``span`` (Unix ms)."""
    columns = np.ascontiguousarray(rows.T)
    values = {name: columns[place] for name, place in _PLACES.items()}
    with np.errstate(invalid="ignore"):
        times, ends, counts = (columns[place].astype(np.int64) for place in (0, 6, 8))
    return assemble(times, ends, values, counts, instrument, timeframe, revision, span)


_PLACES = {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 5, "quote_volume": 7, "taker_buy_volume": 9}


def frame_of_csv(
    raw: pl.DataFrame,
    instrument: str,
    timeframe: Timeframe,
    revision: datetime,
    span: tuple[int, int] | None = None,
) -> tuple[pl.DataFrame, list[RejectedRow]]:
    """BAR_SCHEMA frame of the columns of an archive file, and the rows that are not valid bars of ``span`` (Unix
    ms).
    """
    values = {name: raw.get_column(name).to_numpy() for name in _PLACES}
    times, ends, counts = (raw.get_column(name).to_numpy() for name in ("open_time", "close_time", "trade_count"))
    return assemble(times, ends, values, counts, instrument, timeframe, revision, span)


def assemble(
    times: NDArray[np.int64],
    ends: NDArray[np.int64],
    values: dict[str, NDArray[np.float64]],
    counts: NDArray[np.int64],
    instrument: str,
    timeframe: Timeframe,
    revision: datetime,
    span: tuple[int, int] | None,
) -> tuple[pl.DataFrame, list[RejectedRow]]:
    """Make a BAR_SCHEMA frame of columns (times in Unix ms), and the rejected rows.

    numpy is used instead of Polars expressions, whose set-up costs more than the work on a page of 1000 rows.
    """
    times = np.where(times > MICROSECONDS_FROM, times // 1000, times)
    ends = np.where(ends > MICROSECONDS_FROM, ends // 1000, ends)
    doubtful = (ends < times) | (ends >= times + timeframe.milliseconds)
    (times, values, stated), refused = sift((times, values, counts), instrument, timeframe, span, doubtful)
    assert stated is not None
    counts = stated
    same = {"instrument": instrument, "source": str(BarOrigin.VENUE_HISTORICAL), "complete": True}
    columns = {
        "open_time": pl.Series("open_time", times).cast(UTC_MS),
        **{name: pl.Series(name, numbers) for name, numbers in values.items()},
        "trade_count": pl.Series("trade_count", counts),
        **{name: _one_row(name, value).new_from_index(0, len(times)) for name, value in same.items()},
        "revision": pl.Series("revision", np.full(len(times), unix_ms(revision))).cast(UTC_MS),
    }
    # A positive volume with a trade count of 0 comes from a recording without these fields: they become null.
    unstated = (counts == 0) & (values["volume"] > 0)
    if unstated.any():
        for name in ("quote_volume", "taker_buy_volume", "trade_count"):
            column = columns[name]
            columns[name] = column.set(pl.Series(unstated & (column.to_numpy() == 0)), None)
    for name in OPTIONAL_COLUMNS:
        if name not in columns:
            columns[name] = _one_row(name, None).new_from_index(0, len(times))
    return pl.DataFrame([columns[name] for name in BAR_SCHEMA]), refused


@lru_cache(maxsize=4096)
def _one_row(name: str, value: str | bool | None) -> pl.Series:
    """A column of BAR_SCHEMA with one row. Kept, because making it costs as much as reading 100 rows."""
    return pl.Series(name, [value], BAR_SCHEMA[name])


def parse_trades(body: bytes) -> TradePage[AggTrade]:
    """Aggregate trades of an aggTrades body by rising ids, and the rejected rows. Raises MalformedAnswer."""
    rows, refused = decode_list(
        _TRADES, _TRADE, body, "aggTrades", lambda row: _row_ms(row.get("T")), lambda row: whole(row.get("a"))
    )
    return page_of(rows, refused, _trade_fault)


def _trade_fault(row: AggTrade) -> str | None:
    return trade_fault(row.first_id, row.last_id, row.trade_id, row.ms, row.price, row.quantity)


def _row_ms(stated: Any) -> int | None:
    number = whole(stated)
    if number is None:
        return None
    number = number // 1000 if number > MICROSECONDS_FROM else number
    return number if 0 < number < MAX_MS else None


def _plausible_ms(ms: float, where: str) -> int:
    """A time in Unix ms. Raises MalformedAnswer when it is neither milliseconds nor microseconds."""
    ms = ms / 1000 if ms > MICROSECONDS_FROM else ms
    if not 0 <= ms < MAX_MS:
        raise MalformedAnswer(f"{where}: {ms:g} is not a time in milliseconds or microseconds")
    return int(ms)


def frame_of_trades(trades: list[AggTrade], instrument: str) -> pl.DataFrame:
    """TRADE_SCHEMA frame, ids ascending."""
    return trade_rows.frame_of_trades(trades, instrument).with_columns(
        pl.Series("first_id", [trade.first_id for trade in trades], pl.Int64()),
        pl.Series("last_id", [trade.last_id for trade in trades], pl.Int64()),
    )


def parse_info(body: bytes) -> ExchangeInfo:
    """Read exchangeInfo entry by entry. An unreadable entry is logged and skipped. Raises MalformedAnswer."""
    fields = raw_fields(body, "exchangeInfo")
    limits = raw_rows(fields["rateLimits"], "exchangeInfo, rateLimits") if "rateLimits" in fields else []
    read, refused = decode_rows(limits, _LIMIT, "exchangeInfo, rateLimits", lambda _: None)
    for one in refused:
        log.warning("Binance: %s: %s", one.reason, one.said)
    rows = raw_rows(fields["symbols"], "exchangeInfo, symbols") if "symbols" in fields else []
    return ExchangeInfo(read, read_listings("Binance", rows, lambda raw: _listing(_SYMBOL.decode(raw)), "symbol"))


def parse_server_time(body: bytes) -> int:
    """The venue's time (Unix ms) of a /time body. Raises MalformedAnswer."""
    return _plausible_ms(decode(_TIME, body, "time").server_time, "time")


def parse_error(body: bytes) -> ErrorBody | None:
    """Code and text of an error body; None for other bodies (an HTML page of a proxy)."""
    try:
        error = _ERROR.decode(body)
    except UNREADABLE:
        return None
    return ErrorBody(error.code, shorten(error.msg))


def banned(text: str, message: str, said_at: float) -> RateLimited:
    """The error of code -1003: too many requests, or a ban until a time (Unix ms) that only the text states.

    ``said_at`` is the venue's time of the answer (Unix seconds).
    """
    until = re.search(r"until (\d{13})", message)
    return RateLimited(text, retry_after=max(1.0, int(until[1]) / 1000 - said_at) if until else 1.0)


def weight_limit(info: ExchangeInfo, share: float) -> BudgetLimit | None:
    """The request-weight limit of exchangeInfo; None if it has no valid one. ``share`` is the used part of it."""
    for limit in info.rate_limits:
        known = limit.rate_limit_type == "REQUEST_WEIGHT" and limit.interval in _SECONDS
        # an absurd limit would stop all requests, or allow any number: the published limit is used instead
        if known and 20 <= limit.limit <= 10_000_000 and 1 <= limit.interval_num <= 1_440:
            return BudgetLimit(limit.limit, float(limit.interval_num * _SECONDS[limit.interval]), share)
    return None


def used_header(limit: BudgetLimit) -> str:
    """Name of the header that carries the weight used in the limit's window."""
    for letter, seconds in (("D", 86400), ("H", 3600), ("M", 60)):
        if limit.window >= seconds and limit.window % seconds == 0:
            return f"X-MBX-USED-WEIGHT-{int(limit.window) // seconds}{letter}"
    return f"X-MBX-USED-WEIGHT-{int(limit.window)}S"


def _listing(symbol: _Symbol) -> Listing:
    filters = {each.filter_type: each for each in symbol.filters}
    price, lot = filters.get("PRICE_FILTER"), filters.get("LOT_SIZE")
    if symbol.status == "TRADING":
        status = ListingStatus.TRADING
    else:
        status = ListingStatus.PAUSED if symbol.status in _PAUSED else ListingStatus.DELISTED
    return Listing(
        venue_symbol=symbol.symbol,
        base=symbol.base_asset,
        quote=symbol.quote_asset,
        status=status,
        tick_size=decimal_or_none(price.tick_size if price else None),
        lot_size=decimal_or_none(lot.step_size if lot else None),
    )
