"""A recorded stock market from LEAN's files: minutes, days and ticks as traded, with splits, dividends and tickers."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from crypto_pipeline.replay.errors import ReplayError
from crypto_pipeline.replay.massive.tape import BARS, TRADES, DividendEvent, SplitEvent, Stock

NEW_YORK = ZoneInfo("America/New_York")
#: Prices are whole ten-thousandths of a dollar.
_PRICE = 10_000
#: LEAN keeps the conditions of a tick as bits (its TradeConditionFlags); here are Massive's codes of them.
_CONDITIONS = {
    0x1: 0, 0x2: 7, 0x4: 20, 0x8: 29, 0x20: 14, 0x40: 25, 0x80: 8, 0x100: 28, 0x200: 10, 0x400: 12, 0x800: 30,
    0x2000: 12, 0x4000: 32, 0x8000: 34, 0x10000: 1, 0x20000: 4, 0x100000: 2, 0x200000: 9, 0x400000: 21,
    0x1000000: 15, 0x2000000: 22, 0x4000000: 16, 0x20000000: 41, 0x80000000: 37,
}  # fmt: skip


class RecordedStocks:
    """See StockTape. ``folder`` is LEAN's ``equity/usa``. Raises ReplayError where it is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not (folder / "daily").is_dir():
            raise ReplayError(f"{folder} has no folder daily: give a folder equity/usa as LEAN has it")
        self._rows = lru_cache(maxsize=64)(_read)

    def stocks(self) -> list[Stock]:
        """See StockTape: those with a folder of minutes or a file of days."""
        names = {path.stem for path in (self._folder / "daily").glob("*.zip")}
        names |= {path.name for path in (self._folder / "minute").glob("*")}
        return [self._stock(name) for name in sorted(names)]

    def minutes(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """See StockTape."""
        parts = [self._bars(path, day) for day, path in self._files("minute", ticker, first, last)]
        return pl.concat([pl.DataFrame(schema=BARS), *parts])

    def days(self, ticker: str, first: date, last: date) -> pl.DataFrame:
        """See StockTape."""
        path = self._folder / f"daily/{ticker.lower()}.zip"
        rows = []
        for row in self._rows(path) if path.exists() else []:
            day = _day(row[0][:8])
            if first <= day <= last:
                rows.append((_midnight(day), *_prices(row[1:5]), float(row[5]), None))
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
        days = self.days(ticker, date(1900, 1, 1), date(2100, 1, 1))
        minutes = self._files("minute", ticker, date(1900, 1, 1), date(2100, 1, 1))
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
