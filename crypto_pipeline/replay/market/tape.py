"""The interface of a market, generated or recorded, that the server reads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import polars as pl

from crypto_pipeline.market.bars import TRADE_SCHEMA
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.market.symbols import DAY_MS, SymbolInfo

#: Schema of bars for answers: times (Unix ms) and counts as integers, decimals as text.
BAR_TEXT: dict[str, pl.DataType] = {
    "open_ms": pl.Int64(),
    "open": pl.String(),
    "high": pl.String(),
    "low": pl.String(),
    "close": pl.String(),
    "volume": pl.String(),
    "quote_volume": pl.String(),
    "trades": pl.Int64(),
    "taker_volume": pl.String(),
    "taker_quote": pl.String(),
}

#: Schema of aggregate trades for answers.
TRADE_TEXT: dict[str, pl.DataType] = {
    "id": pl.Int64(),
    "price": pl.String(),
    "quantity": pl.String(),
    "first_id": pl.Int64(),
    "last_id": pl.Int64(),
    "time_ms": pl.Int64(),
    "buyer_is_maker": pl.Boolean(),
}

_WEEK_MS = 7 * DAY_MS
_MONDAY_MS = 4 * DAY_MS


def chunk_start(timeframe: Timeframe, ms: int) -> int:
    """Start of the chunk that contains ``ms``. Bars are made and cached by day, weekly bars by week. Unix ms."""
    return floor_ms(Timeframe.W1 if timeframe is Timeframe.W1 else Timeframe.D1, ms)


def chunk_width(timeframe: Timeframe) -> int:
    """Milliseconds in one chunk of bars."""
    return _WEEK_MS if timeframe is Timeframe.W1 else DAY_MS


def floor_ms(timeframe: Timeframe, ms: int) -> int:
    """Open time of the bar that contains ``ms``, in Unix milliseconds."""
    anchor = _MONDAY_MS if timeframe is Timeframe.W1 else 0
    return ms - (ms - anchor) % timeframe.milliseconds


def stated_trades(frame: pl.DataFrame, instrument: str) -> pl.DataFrame:
    """TRADE_SCHEMA frame of aggregate trades (``id``, ``time_ms``, ``buyer_is_maker``, prices as numbers)."""
    side = pl.when("buyer_is_maker").then(pl.lit("sell")).otherwise(pl.lit("buy"))
    return frame.select(
        pl.lit(instrument).alias("instrument"),
        pl.col("id").alias("trade_id"),
        "first_id",
        "last_id",
        pl.col("time_ms").cast(pl.Datetime("ms", "UTC")).alias("time"),
        "price",
        "quantity",
        side.alias("taker_side"),
    ).cast(TRADE_SCHEMA)  # type: ignore[arg-type]


class Tape(Protocol):
    """The true market. It is independent of faults and of the current time, except where a time is passed."""

    @property
    def description(self) -> str:
        """A short description, for the line printed at start."""

    def symbols(self) -> Sequence[SymbolInfo]:
        """All symbols, including those not listed yet."""

    def symbol(self, name: str) -> SymbolInfo | None:
        """The symbol with this venue name (BTCUSDT)."""

    def seek(self, symbol: str, timeframe: Timeframe, ms: int, *, forward: bool) -> int | None:
        """A time from ``ms`` on (``forward``) or back, with no bar between ``ms`` and it; None if no bar follows at
        all.
        """

    def bar_text(self, symbol: str, timeframe: Timeframe, chunk_ms: int) -> pl.DataFrame:
        """All bars of one chunk as BAR_TEXT, also those of the future."""

    def forming_bar(self, symbol: str, timeframe: Timeframe, now_ms: int) -> pl.DataFrame:
        """The bar that contains ``now_ms``, from trades up to then: one row of BAR_TEXT or none."""

    @property
    def trade_width(self) -> int:
        """Milliseconds in one chunk of trades: a day, or a divisor of a day if a day has too many trades."""

    def seek_trade(self, symbol: str, ms: int, *, forward: bool) -> int | None:
        """As ``seek``, for trades."""

    def trade_text(self, symbol: str, chunk_ms: int) -> pl.DataFrame:
        """All aggregate trades of one chunk as TRADE_TEXT, also those of the future."""

    def chunk_of_trade(self, symbol: str, trade_id: int) -> int | None:
        """Start of the chunk of the first aggregate trade with this id or a higher one; None if there is none."""

    def bars(self, symbol: str, timeframe: Timeframe, start: datetime, end: datetime) -> pl.DataFrame:
        """The true bars of ``[start, end)`` (UTC) in BAR_SCHEMA, for comparisons in tests."""

    def trades(self, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        """The true aggregate trades of ``[start, end)`` (UTC) in TRADE_SCHEMA."""
