"""The truth of a replayed stock market: bars and trades as they were traded, and what happened to each stock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Protocol

import polars as pl

#: Bars: begin in Unix ms, prices, shares, trades.
BARS: dict[str, pl.DataType] = {
    "t": pl.Int64(),
    "o": pl.Float64(),
    "h": pl.Float64(),
    "l": pl.Float64(),
    "c": pl.Float64(),
    "v": pl.Float64(),
    "n": pl.Int64(),
}
#: Trades in their order: time in Unix ns, price, shares, codes of conditions, number of the exchange.
TRADES: dict[str, pl.DataType] = {
    "ns": pl.Int64(),
    "price": pl.Float64(),
    "size": pl.Float64(),
    "conditions": pl.List(pl.Int64()),
    "exchange": pl.Int64(),
}


#: Codes of conditions of trades that make no price of a bar; odd lots among them.
NO_PRICE = frozenset({2, 7, 13, 15, 16, 20, 21, 29, 37, 38, 52, 53})


@dataclass(frozen=True, slots=True)
class SplitEvent:
    """From ``day`` on ``to`` shares stand for ``of``."""

    day: date
    of: float
    to: float


@dataclass(frozen=True, slots=True)
class DividendEvent:
    """``amount`` of dollars per share to those who held it before ``day``."""

    day: date
    amount: float
    declared: date | None = None


@dataclass(frozen=True, slots=True)
class Stock:
    """What happened to one stock. ``ticker`` is its present one; ``tickers`` are all: (first day, ticker), in order."""

    ticker: str
    first_day: date
    tickers: tuple[tuple[date, str], ...] = ()
    splits: tuple[SplitEvent, ...] = ()
    dividends: tuple[DividendEvent, ...] = ()
    delisted: date | None = None
    name: str = field(default="")

    def ticker_on(self, day: date) -> str:
        """The ticker of a day."""
        held = [ticker for first, ticker in self.tickers if first <= day]
        return held[-1] if held else (self.tickers[0][1] if self.tickers else self.ticker)


def held_tickers(stock: Stock, ticker: str) -> list[tuple[date, date]]:
    """The first and last day of each span in which the stock had the ticker."""
    tickers = stock.tickers or ((date(1900, 1, 1), stock.ticker),)
    ends = [*(first - timedelta(days=1) for first, _ in tickers[1:]), date(2100, 1, 1)]
    return [(first, end) for (first, name), end in zip(tickers, ends, strict=True) if name == ticker]


def seconds_of(trades: pl.DataFrame, no_price: Collection[int] = NO_PRICE) -> pl.DataFrame:
    """Bars of seconds (BARS) of ``trades`` (TRADES, in their order); those with a code of ``no_price`` make none."""
    prices = trades.filter(pl.col("conditions").list.set_intersection(sorted(no_price)).list.len() == 0)
    price = pl.col("price")
    return prices.group_by((pl.col("ns") // 1_000_000_000 * 1_000).alias("t"), maintain_order=True).agg(
        price.first().alias("o"), price.max().alias("h"), price.min().alias("l"), price.last().alias("c"),
        pl.col("size").sum().alias("v"), pl.len().cast(pl.Int64).alias("n"),
    )  # fmt: skip


class StockTape(Protocol):
    """A stock market."""

    def stocks(self) -> list[Stock]:
        """Every stock, delisted ones too."""

    def minutes(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """Minute bars (BARS) of the stock's New York days ``first`` to ``last``, extended hours included, in order."""

    def seconds(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """Bars of the seconds (BARS) with a trade that makes a price, of the stock's New York days, in order."""

    def days(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """Bars of days (BARS), which begin at midnight in New York, in order."""

    def trades(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """Trades (TRADES) of the stock's New York days, in order."""
