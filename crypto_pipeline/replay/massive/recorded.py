"""A recorded stock market from LEAN's files: minutes, days and ticks as traded, with splits, dividends and tickers."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import date, datetime, time, timedelta
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from crypto_pipeline.market.calendars import SessionCalendar, get_calendar
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.replay.errors import ReplayError
from crypto_pipeline.replay.massive.tape import BARS, TRADES, DividendEvent, SplitEvent, Stock, seconds_of

NEW_YORK = ZoneInfo("America/New_York")
#: Before and after every recorded day.
_BEGIN, _END = date(1900, 1, 1), date(2100, 1, 1)
#: Prices are whole ten-thousandths of a dollar.
_PRICE = 10_000
#: LEAN keeps the conditions of a tick as bits (its TradeConditionFlags); here are Massive's codes of them.
_CONDITIONS = {
    0x1: 0, 0x2: 7, 0x4: 20, 0x8: 29, 0x20: 14, 0x40: 25, 0x80: 8, 0x100: 28, 0x200: 10, 0x400: 12, 0x800: 30,
    0x2000: 12, 0x4000: 32, 0x8000: 34, 0x10000: 1, 0x20000: 4, 0x100000: 2, 0x200000: 9, 0x400000: 21,
    0x1000000: 15, 0x2000000: 22, 0x4000000: 16, 0x20000000: 41, 0x80000000: 37,
}  # fmt: skip


class RecordedStocks:
    """See StockTape. ``folder`` has LEAN's files: its ``equity/usa``, or a folder with that, or with ``lean``, in it.

    Raises ReplayError where there are none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = _equity_folder(folder)
        self._rows = lru_cache(maxsize=64)(_read)

    def stocks(self) -> list[Stock]:
        """See StockTape: those with a folder of minutes or a file of days."""
        return self._stocks

    @cached_property
    def _stocks(self) -> list[Stock]:
        return [self._stock(name) for name in _names(self._folder)]

    def minutes(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """See StockTape."""
        parts = [self._bars(path, day) for day, path in self._files("minute", ticker, first, last)]
        return pl.concat([pl.DataFrame(schema=BARS), *parts])

    def seconds(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """See StockTape. Of a day whose seconds were not recorded they are made of its ticks."""
        recorded = dict(self._files("second", ticker, first, last))
        days = sorted(recorded.keys() | dict(self._files("tick", ticker, first, last)).keys())
        parts = [
            self._bars(recorded[day], day) if day in recorded else seconds_of(self.trades(ticker, day, day))
            for day in days
        ]
        return pl.concat([pl.DataFrame(schema=BARS), *parts])

    def days(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """See StockTape. Where no days were recorded, they are the sessions of recorded minutes."""
        path = self._folder / f"daily/{ticker.lower()}.zip"
        if not path.exists():
            return self._days_of_minutes(ticker, first, last)
        rows = []
        for row in self._rows(path):
            day = _day(row[0][:8])
            if first <= day <= last:
                rows.append((_midnight(day), *_prices(row[1:5]), float(row[5]), None))
        return pl.DataFrame(rows, schema=BARS, orient="row")

    def _days_of_minutes(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        calendar = get_calendar("XNYS")
        assert isinstance(calendar, SessionCalendar)
        rows = []
        for day, path in self._files("minute", ticker, first, last):
            begin, end = (from_unix_ms(_midnight(each)) for each in (day, day + timedelta(days=1)))
            for session in calendar.stretches(begin, end):
                inside = pl.col("t").is_between(unix_ms(session.opens), unix_ms(session.closes), closed="left")
                traded = self._bars(path, day).filter(inside)
                prices = (pl.col("o").first(), pl.col("h").max(), pl.col("l").min(), pl.col("c").last())
                row = traded.select(
                    pl.lit(_midnight(day)).alias("t"), *prices, pl.col("v").sum(), pl.lit(None).alias("n")
                )
                rows += row.head(traded.height).rows()
        return pl.DataFrame(rows, schema=BARS, orient="row")

    def trades(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """See StockTape."""
        rows = []
        for day, path in self._files("tick", ticker, first, last):
            begin = _midnight(day)
            for ms, price, size, _, condition, suspicious in (row[:6] for row in self._rows(path)):
                if suspicious == "0":
                    at = int((begin + float(ms)) * 1_000_000)
                    rows.append((at, int(price) / _PRICE, float(size), _codes(condition), 4))
        return pl.DataFrame(rows, schema=TRADES, orient="row").sort("ns", maintain_order=True)

    def _bars(self, path: Path, day: date) -> pl.DataFrame:
        begin = _midnight(day)
        rows = [(begin + int(row[0]), *_prices(row[1:5]), float(row[5]), None) for row in self._rows(path)]
        return pl.DataFrame(rows, schema=BARS, orient="row")

    def _files(self, kind: str, ticker: str, first: date, last: date) -> list[tuple[date, Path]]:
        found = sorted((self._folder / kind / ticker.lower()).glob("*_trade.zip"))
        dated = [(_day(path.name[:8]), path) for path in found]
        return [(day, path) for day, path in dated if first <= day <= last]

    def _stock(self, name: str) -> Stock:
        ticker = name.upper()
        days = self.days(ticker, _BEGIN, _END)
        minutes = self._files("minute", ticker, _BEGIN, _END)
        traded = [datetime.fromtimestamp(ms / 1000, NEW_YORK).date() for ms in days["t"]]
        first = min([*traded[:1], *(day for day, _ in minutes[:1])])
        splits, dividends = self._events(name, traded)
        return Stock(ticker, first, self._tickers(name), splits, dividends)

    def _tickers(self, name: str) -> tuple[tuple[date, str], ...]:
        """(first day, ticker) of each ticker by the map file, in which each row has the last day."""
        path = self._folder / f"map_files/{name}.csv"
        if not path.exists():
            return ()
        rows = [(_day(row[0]), row[1].upper()) for row in csv.reader(path.read_text("ascii").splitlines())]
        held = [(rows[0][0], rows[1][1])]
        for (last, before), (_, after) in pairwise(rows[1:]):
            if before != after:
                held.append((last + timedelta(days=1), after))
        return tuple(held)

    def _events(self, name: str, traded: list[date]) -> tuple[tuple[SplitEvent, ...], tuple[DividendEvent, ...]]:
        """Splits and dividends by the factor file; an amount is what its two factors and its close give."""
        path = self._folder / f"factor_files/{name}.csv"
        if not path.exists():
            return (), ()
        rows = [
            (_day(row[0]), float(row[1]), float(row[2]), float(row[3]))
            for row in csv.reader(path.read_text("ascii").splitlines())
        ]
        splits, dividends = [], []
        for (day, price, split, close), (_, price_after, split_after, _) in pairwise(rows[1:]):
            effective = next((each for each in traded if each > day), None)
            if effective is None:
                continue
            if split != split_after:
                splits.append(SplitEvent(effective, 1, round(split_after / split)))
            if price != price_after:
                dividends.append(DividendEvent(effective, round(close * (1 - price / price_after), 4)))
        return tuple(splits), tuple(dividends)


def recorded_tickers(folder: Path) -> list[str]:
    """The tickers of which ``folder`` (see RecordedStocks) has days or minutes. Raises ReplayError."""
    return [name.upper() for name in _names(_equity_folder(folder))]


def recorded_days(folder: Path) -> tuple[datetime, datetime]:
    """Begin of the first and end of the last day (midnights of New York) of which ``folder`` (see RecordedStocks) has
    minutes, or else days. Raises ReplayError.
    """
    tape = RecordedStocks(folder)
    days = [_day(path.name[:8]) for path in (tape._folder / "minute").glob("*/*_trade.zip")]
    if not days:
        times = pl.concat([tape.days(stock.ticker, _BEGIN, _END) for stock in tape.stocks()])["t"].to_list()
        days = [datetime.fromtimestamp(ms / 1000, NEW_YORK).date() for ms in times]
    first, end = _midnight(min(days)), _midnight(max(days) + timedelta(days=1))
    return from_unix_ms(first), from_unix_ms(end)


def _equity_folder(folder: Path) -> Path:
    for below in ("", "equity/usa", "lean/equity/usa"):
        if (folder / below / "daily").is_dir() or (folder / below / "minute").is_dir():
            return folder / below
    raise ReplayError(
        f"no recorded stocks in {folder}: name a folder of LEAN's data, which has equity/usa/daily or equity/usa/minute"
    )


def _names(folder: Path) -> list[str]:
    """Stocks in LEAN's ``equity/usa``, by the names of their files."""
    names = {path.stem for path in (folder / "daily").glob("*.zip")}
    names |= {path.parent.name for path in (folder / "minute").glob("*/*_trade.zip")}
    if not names:
        raise ReplayError(f"no recorded stocks in {folder}: its folders daily and minute have no files of LEAN")
    return sorted(names)


def _read(path: Path) -> list[list[str]]:
    with zipfile.ZipFile(path) as folder, folder.open(folder.namelist()[0]) as file:
        return list(csv.reader(io.TextIOWrapper(file, "ascii")))


def _codes(bits: str) -> list[int]:
    number = int(bits or "0", 16)
    return [code for bit, code in _CONDITIONS.items() if number & bit]


def _prices(texts: list[str]) -> list[float]:
    return [int(text) / _PRICE for text in texts]


def _midnight(day: date) -> int:
    return int(datetime.combine(day, time(), NEW_YORK).timestamp()) * 1000


def _day(text: str) -> date:
    return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007
