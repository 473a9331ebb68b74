"""Binance's bodies into frames: strict about shape, exact about digits, fast enough that the network is the limit."""

from __future__ import annotations

import logging
import re
import time
from datetime import datetime
from decimal import Decimal, InvalidOperation

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from crypto_pipeline.market.bars import BAR_SCHEMA, TRADE_SCHEMA, UTC_MS, Source
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues.http import RateLimited
from crypto_pipeline.venues.protocol import BudgetLimit, FetchPlan, Listing, ListingStatus, MalformedAnswer

log = logging.getLogger(__name__)

#: Times above this are microseconds, those below milliseconds (1e13 ms is the year 2286).
MICROSECONDS_FROM = 10_000_000_000_000

# open time, o, h, l, c, volume, close time, quote volume, trades, taker base, taker quote, ignored.
# Not strict: numbers come as strings, which msgspec then reads as correctly rounded doubles without a Python step.
_KLINES = msgspec.json.Decoder(
    list[tuple[int, float, float, float, float, float, int, float, int, float, float, float]], strict=False
)
_PAUSED = frozenset({"HALT", "BREAK", "CANCEL_ONLY", "PRE_TRADING", "POST_TRADING", "END_OF_DAY", "AUCTION_MATCH"})


class AggTrade(msgspec.Struct):
    """One aggregate trade; unknown keys are ignored."""

    a: int
    p: float
    q: float
    f: int
    l: int  # noqa: E741
    T: int
    m: bool

    @property
    def ms(self) -> int:
        """Unix milliseconds of the trade, whichever unit the venue states."""
        return self.T // 1000 if self.T > MICROSECONDS_FROM else self.T


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


class ExchangeInfo(msgspec.Struct, rename="camel"):
    """What is used of exchangeInfo."""

    server_time: int
    rate_limits: list[_RateLimit] = []
    symbols: list[_Symbol] = []


class ServerTime(msgspec.Struct, rename="camel"):
    """Body of /time."""

    server_time: int


class ErrorBody(msgspec.Struct):
    """Body of a refused request."""

    code: int
    msg: str = ""


_TRADES = msgspec.json.Decoder(list[AggTrade], strict=False)
_INFO = msgspec.json.Decoder(ExchangeInfo)
_TIME = msgspec.json.Decoder(ServerTime)
_ERROR = msgspec.json.Decoder(ErrorBody)
_MONDAY = 4 * 86_400_000  # 1970-01-05, in ms
_SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86400}


def parse_klines(body: bytes) -> NDArray[np.float64]:
    """Rows × 12 of a klines body. Raises MalformedAnswer unless every row has exactly the promised elements."""
    try:
        rows = _KLINES.decode(body)
    except msgspec.MsgspecError as error:
        raise MalformedAnswer(f"klines: {error}") from error
    # Times (< 2^53) and counts are exact in a double.
    return np.array(rows, dtype=np.float64).reshape(-1, 12)


def frame_of_klines(
    rows: NDArray[np.float64], instrument: str, timeframe: Timeframe, revision: datetime
) -> pl.DataFrame:
    """BAR_SCHEMA frame of parsed rows, oldest first. Raises MalformedAnswer for numbers that cannot be."""
    columns = np.ascontiguousarray(rows.T)
    if not np.isfinite(columns).all():
        raise MalformedAnswer(f"klines of {instrument} {timeframe}: a value is not a finite number")
    values = {name: columns[place] for name, place in _PLACES.items()}
    return assemble(columns[0].astype(np.int64), values, columns[8].astype(np.int64), instrument, timeframe, revision)


_PLACES = {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 5, "quote_volume": 7, "taker_buy_volume": 9}


def frame_of_csv(raw: pl.DataFrame, instrument: str, timeframe: Timeframe, revision: datetime) -> pl.DataFrame:
    """BAR_SCHEMA frame of the columns of an archive file."""
    values = {name: raw.get_column(name).to_numpy() for name in _PLACES}
    times, counts = (raw.get_column(name).to_numpy() for name in ("open_time", "trade_count"))
    return assemble(times, values, counts, instrument, timeframe, revision)


def assemble(
    times: NDArray[np.int64],
    values: dict[str, NDArray[np.float64]],
    counts: NDArray[np.int64],
    instrument: str,
    timeframe: Timeframe,
    revision: datetime,
) -> pl.DataFrame:
    """Columns into a frame, without expressions: on a page of 1000 rows their set-up costs more than the work.

    Raises MalformedAnswer for bars out of order.
    """
    times = np.where(times > MICROSECONDS_FROM, times // 1000, times)
    if not (times[1:] > times[:-1]).all():
        raise MalformedAnswer(f"klines of {instrument} {timeframe}: open times do not rise")
    same = {"instrument": instrument, "source": str(Source.VENUE_HISTORICAL), "complete": True, "revision": revision}
    columns = {
        "open_time": pl.Series("open_time", times).cast(UTC_MS),
        **{name: pl.Series(name, numbers) for name, numbers in values.items()},
        "trade_count": pl.Series("trade_count", counts),
        **{
            name: pl.Series(name, [value], BAR_SCHEMA[name]).new_from_index(0, len(times))
            for name, value in same.items()
        },
    }
    # Something traded, yet no trade is counted: a recording without these fields. Unknown is null, never zero.
    unstated = (counts == 0) & (values["volume"] > 0)
    if unstated.any():
        for name in ("quote_volume", "taker_buy_volume", "trade_count"):
            column = columns[name]
            columns[name] = column.set(pl.Series(unstated & (column.to_numpy() == 0)), None)
    return pl.DataFrame([columns[name] for name in BAR_SCHEMA])


def inside(frame: pl.DataFrame, plan: FetchPlan, start: datetime, end: datetime) -> pl.DataFrame:
    """The bars of the plan's grid. Raises MalformedAnswer for bars outside ``[start, end)``, which nobody asked for."""
    if frame.is_empty():
        return frame
    times = frame.get_column("open_time")
    if times[0] < start or times[-1] >= end:
        raise MalformedAnswer(f"klines of {plan.instrument} {plan.timeframe}: bars outside {start} .. {end}")
    anchor = _MONDAY if plan.timeframe is Timeframe.W1 else 0
    on_grid = (times.to_physical().to_numpy() - anchor) % plan.timeframe.milliseconds == 0
    if not on_grid.all():
        # Binance has a few of these around its outages of 2017 and 2018: no bar of the grid, so not ours to store.
        log.warning("%s %s: left out %d bars off the grid", plan.instrument, plan.timeframe, (~on_grid).sum())
        return frame.filter(on_grid)
    return frame


def parse_trades(body: bytes) -> list[AggTrade]:
    """Aggregate trades of an aggTrades body."""
    try:
        return _TRADES.decode(body)
    except msgspec.MsgspecError as error:
        raise MalformedAnswer(f"aggTrades: {error}") from error


def frame_of_trades(trades: list[AggTrade], instrument: str) -> pl.DataFrame:
    """TRADE_SCHEMA frame, ids ascending. Buyer was maker means that the taker sold."""
    return pl.DataFrame(
        {
            "instrument": [instrument] * len(trades),
            "trade_id": [trade.a for trade in trades],
            "first_id": [trade.f for trade in trades],
            "last_id": [trade.l for trade in trades],
            "time": [trade.ms for trade in trades],
            "price": [trade.p for trade in trades],
            "quantity": [trade.q for trade in trades],
            "taker_side": ["sell" if trade.m else "buy" for trade in trades],
        },
        schema_overrides={**TRADE_SCHEMA, "time": pl.Int64()},
    ).with_columns(pl.col("time").cast(UTC_MS))


def parse_info(body: bytes) -> ExchangeInfo:
    """Read exchangeInfo."""
    try:
        return _INFO.decode(body)
    except msgspec.MsgspecError as error:
        raise MalformedAnswer(f"exchangeInfo: {error}") from error


def parse_time(body: bytes) -> int:
    """Unix ms of a /time body."""
    try:
        return _TIME.decode(body).server_time
    except msgspec.MsgspecError as error:
        raise MalformedAnswer(f"time: {error}") from error


def parse_error(body: bytes) -> ErrorBody | None:
    """Code and text of an error body; None when it is something else (an HTML page of a proxy)."""
    try:
        return _ERROR.decode(body)
    except msgspec.MsgspecError:
        return None


def banned(text: str, message: str) -> RateLimited:
    """-1003: slow down, or banned until a time in ms that only the text tells."""
    until = re.search(r"until (\d{13})", message)
    return RateLimited(text, retry_after=max(1.0, int(until[1]) / 1000 - time.time()) if until else 1.0)


def weight_limit(info: ExchangeInfo, share: float) -> BudgetLimit | None:
    """The request-weight limit that exchangeInfo states, if it does."""
    for limit in info.rate_limits:
        if limit.rate_limit_type == "REQUEST_WEIGHT" and limit.interval in _SECONDS:
            return BudgetLimit(limit.limit, float(limit.interval_num * _SECONDS[limit.interval]), share)
    return None


def used_header(limit: BudgetLimit) -> str:
    """Name of the header that carries the weight used in the limit's window."""
    for letter, seconds in (("D", 86400), ("H", 3600), ("M", 60)):
        if limit.window >= seconds and limit.window % seconds == 0:
            return f"X-MBX-USED-WEIGHT-{int(limit.window) // seconds}{letter}"
    return f"X-MBX-USED-WEIGHT-{int(limit.window)}S"


def listings_of(info: ExchangeInfo) -> list[Listing]:
    """Every symbol of exchangeInfo."""
    return [_listing(symbol) for symbol in info.symbols]


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
        tick_size=_decimal(price.tick_size if price else None),
        lot_size=_decimal(lot.step_size if lot else None),
    )


def _decimal(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise MalformedAnswer(f"exchangeInfo: {text!r} is not a number") from error
