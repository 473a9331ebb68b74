"""A generated stock market: sessions and half days of New York, extended hours, thin stocks, halts, a split, a rename
and a delisting. The same seed gives the same market on any day.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.market.calendars import SessionCalendar, get_calendar
from crypto_pipeline.replay.massive.tape import BARS, TRADES, DividendEvent, SplitEvent, Stock, seconds_of

NEW_YORK = ZoneInfo("America/New_York")
Floats = npt.NDArray[np.float64]

#: Times of minutes, prices of four trades of each, their shares, and whether the minute lies in the session.
_Day = tuple[npt.NDArray[np.int64], Floats, Floats, npt.NDArray[np.bool_]]
_BEGIN = date(2015, 1, 1)
_MINUTE = 60_000
#: Extended hours of New York, minutes of the day, and how often a minute of them has a trade.
_PRE, _POST, _RARE = 4 * 60, 20 * 60, 0.25
#: Trades of a minute that make its bar: open, high, low, close; and their milliseconds.
_OFFSETS = np.array([2_000, 17_000, 33_000, 58_000])
#: One minute in so many has an odd lot at a price outside of its bar.
_ODD_LOTS = 7
_ODD_LOT, _REGULAR, _FORM_T = 37, 0, 12


@dataclass(frozen=True, slots=True)
class Halt:
    """No trades of a stock for ``minutes`` from a time (UTC) on."""

    ticker: str
    start: datetime
    minutes: int


class GeneratedStocks:
    """See StockTape. ``busy`` are the shares of session minutes in which a stock trades (default: 0.998)."""

    def __init__(
        self,
        stocks: Sequence[Stock],
        *,
        seed: int = 1,
        busy: Mapping[str, float] | None = None,
        halts: Sequence[Halt] = (),
    ) -> None:
        self._stocks = {stock.ticker: stock for stock in stocks}
        self._seed, self._busy, self._halts = seed, dict(busy or {}), tuple(halts)
        self._day = lru_cache(maxsize=4_000)(self._made)

    @cached_property
    def _calendar(self) -> SessionCalendar:
        calendar = get_calendar("XNYS")
        assert isinstance(calendar, SessionCalendar)
        return calendar

    def stocks(self) -> list[Stock]:
        """See StockTape."""
        return list(self._stocks.values())

    def minutes(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """See StockTape."""
        return pl.concat(
            [
                pl.DataFrame(schema=BARS),
                *(_bars(*self._day(ticker, day)[:3]) for day in self._range(ticker, first, last)),
            ]
        )

    def trades(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """See StockTape."""
        return pl.concat(
            [
                pl.DataFrame(schema=TRADES),
                *(_trades(*self._day(ticker, day)) for day in self._range(ticker, first, last)),
            ]
        )

    def seconds(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """See StockTape."""
        return seconds_of(self.trades(ticker, first, last))

    def days(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """See StockTape: the prices are the session's, the shares the whole day's."""
        rows = []
        for day in self._range(ticker, first, last):
            bars = _bars(*self._day(ticker, day)[:3])
            begin, end = self._session(day) or (0, 0)
            inside = bars.filter(pl.col("t").is_between(begin, end, closed="left"))
            if inside.height:
                opened = int(datetime.combine(day, time(), NEW_YORK).timestamp()) * 1000
                high, low = inside.select(pl.col("h").max(), pl.col("l").min()).row(0)
                rows.append((opened, inside["o"][0], high, low, inside["c"][-1], bars["v"].sum(), bars["n"].sum()))
        return pl.DataFrame(rows, schema=BARS, orient="row")

    def _session(self, day: date) -> tuple[int, int] | None:
        begin = datetime.combine(day, time(), NEW_YORK).astimezone(UTC)
        for each in self._calendar.stretches(begin, begin + timedelta(days=1)):
            if each.day == day:
                return int(each.opens.timestamp()) * 1000, int(each.closes.timestamp()) * 1000
        return None

    def _range(self, ticker: str, first: date, last: date) -> list[date]:
        """Days with a session on which the stock is listed."""
        stock = self._stocks[ticker]
        first = max(first, stock.first_day)
        if stock.delisted is not None:
            last = min(last, stock.delisted - timedelta(days=1))
        days = (first + timedelta(days=n) for n in range((last - first).days + 1))
        return [day for day in days if self._session(day) is not None]

    def _made(self, ticker: str, day: date) -> _Day:
        stock, session = self._stocks[ticker], self._session(day)
        assert session is not None
        rng = np.random.default_rng([self._seed, zlib.crc32(ticker.encode()), day.toordinal()])
        times, regular = self._times(ticker, day, session, rng)
        base = self._level(stock, day)
        closes = base * np.exp(np.cumsum(rng.normal(0, 0.0004, len(times))))
        opens = np.concatenate([[base], closes[:-1]]) * np.exp(rng.normal(0, 0.0001, len(times)))
        spread = np.abs(rng.normal(0, 0.0003, (2, len(times))))
        high = np.maximum(opens, closes) * (1 + spread[0])
        low = np.minimum(opens, closes) * (1 - spread[1])
        prices: Floats = np.round(np.stack([opens, high, low, closes], axis=1), 2).astype(np.float64)
        sizes: Floats = (rng.integers(1, 20, (len(times), 4)) * 100).astype(np.float64)
        return times, prices, sizes, regular

    def _times(
        self, ticker: str, day: date, session: tuple[int, int], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The minutes of a day in which the stock trades, and whether they lie in the session."""
        begin = int(datetime.combine(day, time(), NEW_YORK).timestamp()) * 1000
        every = begin + np.arange(_PRE, _POST, dtype=np.int64) * _MINUTE
        regular = (every >= session[0]) & (every < session[1])
        traded = rng.random(len(every)) < np.where(regular, self._busy.get(ticker, 0.998), _RARE)
        for halt in self._halts:
            if halt.ticker == ticker:
                start = int(halt.start.timestamp()) * 1000
                traded &= ~((every >= start) & (every < start + halt.minutes * _MINUTE))
        return every[traded], regular[traded]

    def _level(self, stock: Stock, day: date) -> float:
        """The price at which a day begins, as traded: splits that come later multiply it."""
        rng = np.random.default_rng([self._seed, zlib.crc32(stock.ticker.encode())])
        first = float(rng.uniform(20, 400))
        moves = rng.normal(0.0003, 0.012, 40 * 366)
        later = [split.to / split.of for split in stock.splits if split.day > day]
        return float(first * np.exp(moves[: (day - _BEGIN).days].sum() / 3) * np.prod(later))


def default_stocks(today: date) -> GeneratedStocks:
    """Ten large stocks, of which in the weeks before ``today`` one was split, one renamed and one halted for a quarter
    of an hour; and an eleventh, OLDCO, which was delisted.
    """
    began = today - timedelta(days=800)
    names = ("NVDA", "MSFT", "AAPL", "GOOGL", "AMZN", "META", "AVGO", "TSLA", "BRK.B", "JPM")
    split, renamed = today - timedelta(days=20), today - timedelta(days=30)
    wednesday = today - timedelta(days=7 + (today.weekday() - 2) % 7)
    halt = Halt("TSLA", datetime.combine(wednesday, time(15, 7), UTC), 15)  # in the session, summer and winter
    stocks = {name: Stock(name, began, name=name) for name in names}
    stocks["NVDA"] = Stock(
        "NVDA", began, splits=(SplitEvent(split, 1, 10),), dividends=(DividendEvent(split + timedelta(days=5), 0.01),)
    )
    stocks["META"] = Stock("META", began, tickers=((began, "FB"), (renamed, "META")))
    stocks["OLDCO"] = Stock("OLDCO", began, delisted=today - timedelta(days=12))
    return GeneratedStocks(list(stocks.values()), busy={"BRK.B": 0.9, "OLDCO": 0.5}, halts=[halt])


def _bars(times: npt.NDArray[np.int64], prices: Floats, sizes: Floats) -> pl.DataFrame:
    odd = _odd(times)
    return pl.DataFrame(
        {
            "t": times,
            "o": prices[:, 0],
            "h": prices.max(axis=1) if len(times) else prices[:, 0],
            "l": prices.min(axis=1) if len(times) else prices[:, 0],
            "c": prices[:, 3],
            "v": sizes.sum(axis=1) + odd * 7.0,
            "n": np.full(len(times), 4) + odd,
        },
        schema=BARS,
    )


def _trades(
    times: npt.NDArray[np.int64], prices: Floats, sizes: Floats, regular: npt.NDArray[np.bool_]
) -> pl.DataFrame:
    """Four trades of each minute, and odd lots whose prices no bar has."""
    codes = np.where(regular, _REGULAR, _FORM_T)
    rows = [
        (int(at + offset) * 1_000_000, float(price), float(size), [int(code)], 4)
        for at, of_minute, amounts, code in zip(times, prices, sizes, codes, strict=True)
        for offset, price, size in zip(_OFFSETS, of_minute, amounts, strict=True)
    ]
    rows += [
        (int(at + 45_000) * 1_000_000, round(float(price * 1.02), 2), 7.0, [_ODD_LOT], 11)
        for at, price in zip(times[_odd(times)], prices[_odd(times), 1], strict=True)
    ]
    return pl.DataFrame(sorted(rows), schema=TRADES, orient="row")


def _odd(times: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    odd: npt.NDArray[np.bool_] = times // _MINUTE % _ODD_LOTS == 0
    return odd
