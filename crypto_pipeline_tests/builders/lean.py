"""Stocks as LEAN's files have them: daily bars as traded, factor files, map files, minute bars, ticks, market hours."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from crypto_pipeline.market.bars import BAR_SCHEMA, as_bars
from crypto_pipeline.market.corporate_actions import actions
from crypto_pipeline.market.corporate_actions.actions import CorporateAction

NEW_YORK = "America/New_York"
#: Longer ago than any action of the files was announced is nothing: when these tests state what they know.
SEEN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FactorRow:
    """One row: the factors of prices up to and including ``day``, and the close of that day as traded."""

    day: date
    price: Decimal
    split: Decimal
    close: Decimal


def equity(recorded: Path) -> Path:
    return recorded / "lean/equity/usa"


def factor_rows(recorded: Path, ticker: str) -> list[FactorRow]:
    with (equity(recorded) / f"factor_files/{ticker}.csv").open() as file:
        return [FactorRow(_day(row[0]), *map(Decimal, row[1:4])) for row in csv.reader(file)]


def map_rows(recorded: Path, ticker: str) -> list[tuple[date, str]]:
    """(last day, ticker) of each ticker, oldest first; the first row states only the first day."""
    with (equity(recorded) / f"map_files/{ticker}.csv").open() as file:
        return [(_day(row[0]), row[1]) for row in csv.reader(file)]


def daily_bars(recorded: Path, ticker: str) -> pl.DataFrame:
    """Daily bars as traded, at 00:00 UTC of their day."""
    rows = [
        (
            ticker.upper(),
            datetime.combine(_day(row[0][:8]), datetime.min.time(), UTC),
            *_prices(row[1:5]),
            float(row[5]),
        )
        for row in _rows(equity(recorded) / f"daily/{ticker}.zip")
    ]
    return _bars(rows, timedelta(days=1))


def minute_bars(recorded: Path, ticker: str, day: date, folder: str = "minute") -> pl.DataFrame:
    """Minute (or second) bars of one New York day, as traded, extended hours included."""
    midnight = datetime.combine(day, datetime.min.time(), ZoneInfo(NEW_YORK)).astimezone(UTC)
    path = equity(recorded) / f"{folder}/{ticker}/{day:%Y%m%d}_trade.zip"
    rows = [
        (ticker.upper(), midnight + timedelta(milliseconds=int(row[0])), *_prices(row[1:5]), float(row[5]))
        for row in _rows(path)
    ]
    return _bars(rows, timedelta(minutes=1))


def corporate_actions(recorded: Path, ticker: str) -> list[CorporateAction]:
    """The splits and dividends that a factor file states, as events: each takes effect on the trading day after its
    row. The amount of a dividend is the one with the fewest digits that gives the factor."""
    rows = factor_rows(recorded, ticker)
    days = daily_bars(recorded, ticker)["open_time"].dt.date().to_list()
    found, name, factor = [], ticker.upper(), Decimal(1)
    for before, after in pairwise(reversed(rows[1:])):
        before, after = after, before
        effective = next(day for day in days if day > before.day)
        if before.split != after.split:
            ratio = round(1 / float(before.split / after.split))
            found.append(actions.split(name, effective, NEW_YORK, 1, ratio, seen_at=SEEN))
        if before.price != after.price:
            amount = _amount(before, factor)
            factor *= (before.close - amount) / before.close
            found.append(actions.dividend(name, effective, NEW_YORK, float(amount), "USD", seen_at=SEEN))
    return found[::-1]


def _amount(row: FactorRow, factor: Decimal) -> Decimal:
    """The amount with the fewest digits that makes of the ``factor`` after a dividend the one that ``row`` states."""
    exact = row.close * (1 - row.price / factor)
    for digits in range(2, 9):
        amount = round(exact, digits)
        if round(factor * (row.close - amount) / row.close, 7) == row.price:
            return amount
    raise AssertionError(row)


def _bars(rows: list[tuple[object, ...]], width: timedelta) -> pl.DataFrame:
    columns = ("instrument", "open_time", "open", "high", "low", "close", "volume")
    frame = pl.DataFrame(rows, schema={name: BAR_SCHEMA[name] for name in columns}, orient="row")
    return as_bars(
        frame.with_columns(
            pl.lit("venue_historical").alias("source"), pl.lit(True).alias("complete"),
            (pl.col("open_time") + width).alias("revision"),
        )
    )  # fmt: skip


def _rows(path: Path) -> list[list[str]]:
    with zipfile.ZipFile(path) as folder, folder.open(folder.namelist()[0]) as file:
        return list(csv.reader(io.TextIOWrapper(file, "ascii")))


def _prices(texts: list[str]) -> list[float]:
    return [int(text) / 10_000 for text in texts]


def _day(text: str) -> date:
    return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007
