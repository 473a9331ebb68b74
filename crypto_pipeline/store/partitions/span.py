"""Spans that are archived as a whole: a month of one timeframe, or a day of trades; what tables have of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import psycopg

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import month_start
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.partitions import bars

_CELLS = """
SELECT count(*), coalesce(sum(data_version), 0)::text, coalesce(sum(present - archived), 0)::bigint
FROM market.coverage WHERE timeframe = %(timeframe)s AND day >= %(first)s AND day < %(until)s
"""
# Hashes, because a trade may be stated anew under its id; whole numbers, because their sum has no order.
_TRADES = """
SELECT count(*), coalesce(sum(hashint8(trade_id)::bigint + hashfloat8(price) + hashfloat8(quantity)
                              + hashint8(last_id) + taker_buy::int), 0)::text
FROM market.trades WHERE "time" >= %(start)s AND "time" < %(end)s
"""


class ChangedError(StoreError):
    """The rows are other than those that were read: nothing was done, and doing it again will succeed."""


@dataclass(frozen=True, slots=True)
class Span:
    """``[start, end)``: of ``timeframe`` a month, of trades (None) a day."""

    timeframe: Timeframe | None
    start: datetime
    end: datetime

    @classmethod
    def month(cls, timeframe: Timeframe, month: int) -> Span:
        """A month, counted from January 1970."""
        return cls(timeframe, month_start(month), month_start(month + 1))

    @classmethod
    def day(cls, of: date) -> Span:
        """A day of trades."""
        start = datetime(of.year, of.month, of.day, tzinfo=month_start(0).tzinfo)
        return cls(None, start, start + timedelta(days=1))

    @property
    def table(self) -> str:
        """Name (in schema market) of the table that holds just this span, or of the timeframe's where none does."""
        if self.timeframe is None:
            return f"trades_{self.start:%Y_%m_%d}"
        return bars.table(self.timeframe, self.month_number if self.partitioned else None)

    @property
    def parent(self) -> str:
        """The table that ``table`` is a partition of."""
        return "trades" if self.timeframe is None else f"ohlc_{self.timeframe}"

    @property
    def partitioned(self) -> bool:
        """Whether the span is a partition by itself."""
        return self.timeframe is None or self.timeframe in bars.MONTHLY

    @property
    def month_number(self) -> int:
        """The month, counted from January 1970."""
        return (self.start.year - 1970) * 12 + self.start.month - 1

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of files that the span is archived in."""
        return ("trades",) if self.timeframe is None else ("bars", "revisions")

    @property
    def name(self) -> str:
        """For files and messages: ``1m-2026-01``, ``trades-2026-01-31``."""
        return f"trades-{self.start:%Y-%m-%d}" if self.timeframe is None else f"{self.timeframe}-{self.start:%Y-%m}"

    def folder(self, kind: str) -> str:
        """Where files of the kind lie, in the hive layout that other tools read as well."""
        if self.timeframe is None:
            return f"trades/day={self.start:%Y-%m-%d}"
        return f"{kind}/timeframe={self.timeframe}/month={self.start:%Y-%m}"

    def values(self) -> dict[str, Any]:
        """For statements."""
        return {
            "timeframe": str(self.timeframe or ""),
            "start": self.start,
            "end": self.end,
            "first": self.start.date(),
            "until": self.end.date(),
        }

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class SpanFingerprint:
    """A text that is another whenever a row of the span is, and how many rows the tables have."""

    text: str
    hot_rows: int


def fingerprint(connection: psycopg.Connection[Any], span: Span) -> SpanFingerprint:
    """What the rows of the span are now. Every change of bars draws a new data version for its cell."""
    if span.timeframe is None:
        row = connection.execute(_TRADES, span.values()).fetchone()
        assert row is not None
        return SpanFingerprint(f"{row[0]}.{row[1]}", row[0])
    row = connection.execute(_CELLS, span.values()).fetchone()
    assert row is not None
    return SpanFingerprint(f"{row[0]}.{row[1]}.{row[2]}", row[2])


def symbols(connection: psycopg.Connection[Any], span: Span) -> dict[str, int]:
    """Instruments that may have rows in the span, or in its files."""
    if span.timeframe is None:
        rows = connection.execute("SELECT symbol, instrument_id FROM market.instruments").fetchall()
    else:
        rows = connection.execute(
            "SELECT symbol, instrument_id FROM market.instruments WHERE instrument_id IN (SELECT instrument_id "
            "FROM market.coverage WHERE timeframe = %(timeframe)s AND day >= %(first)s AND day < %(until)s "
            "AND present > 0)",
            span.values(),
        ).fetchall()
    return dict(rows)


def venues(connection: psycopg.Connection[Any]) -> dict[int, str]:
    """Names of venues by number."""
    return dict(connection.execute("SELECT venue_id, name FROM market.venues").fetchall())
