"""Spans that are archived as a whole: a month of one timeframe, or a day of trades; and fingerprints of their rows."""

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
# Hashes, because the values of a trade may change under its id; integers, because their sum is independent of order.
_TRADES = """
SELECT count(*), coalesce(sum(hashint8(trade_id)::bigint + hashfloat8(price) + hashfloat8(quantity)
                              + hashint8(last_id) + taker_buy::int), 0)::text
FROM market.trades WHERE "time" >= %(start)s AND "time" < %(end)s
"""


class ChangedError(StoreError):
    """Rows changed since they were read: nothing was done, and a repeat may succeed."""


@dataclass(frozen=True, slots=True)
class Span:
    """``[start, end)`` (UTC): a month of ``timeframe``, or a day of trades (``timeframe`` None)."""

    timeframe: Timeframe | None
    start: datetime
    end: datetime

    @classmethod
    def month(cls, timeframe: Timeframe, month: int) -> Span:
        """The span of a month; ``month`` counts from January 1970."""
        return cls(timeframe, month_start(month), month_start(month + 1))

    @classmethod
    def day(cls, of: date) -> Span:
        """The span of a day of trades."""
        start = datetime(of.year, of.month, of.day, tzinfo=month_start(0).tzinfo)
        return cls(None, start, start + timedelta(days=1))

    @property
    def table(self) -> str:
        """Name (in schema market) of the span's own partition, or of the timeframe's table if there is none."""
        if self.timeframe is None:
            return f"trades_{self.start:%Y_%m_%d}"
        return bars.table(self.timeframe, self.month_number if self.partitioned else None)

    @property
    def parent(self) -> str:
        """Name of the table of which ``table`` is a partition."""
        return "trades" if self.timeframe is None else f"ohlc_{self.timeframe}"

    @property
    def partitioned(self) -> bool:
        """Whether the span has its own partition."""
        return self.timeframe is None or self.timeframe in bars.MONTHLY

    @property
    def month_number(self) -> int:
        """The month, counted from January 1970."""
        return (self.start.year - 1970) * 12 + self.start.month - 1

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of archive files of the span."""
        return ("trades",) if self.timeframe is None else ("bars", "revisions")

    @property
    def name(self) -> str:
        """Name in files and messages: ``1m-2026-01``, ``trades-2026-01-31``."""
        return f"trades-{self.start:%Y-%m-%d}" if self.timeframe is None else f"{self.timeframe}-{self.start:%Y-%m}"

    def folder(self, kind: str) -> str:
        """Folder of files of the kind, in the hive layout that other tools read as well."""
        if self.timeframe is None:
            return f"trades/day={self.start:%Y-%m-%d}"
        return f"{kind}/timeframe={self.timeframe}/month={self.start:%Y-%m}"

    def values(self) -> dict[str, Any]:
        """Parameters of statements."""
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
    """A text that differs after any change of the span's rows, and the number of rows in the tables."""

    text: str
    hot_rows: int


def fingerprint(connection: psycopg.Connection[Any], span: Span) -> SpanFingerprint:
    """The current fingerprint of the span's rows. Every change of bars draws a new data version of its cell."""
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
