"""Partitions made before they are needed: the first bar of a month must not wait for its table to be made."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import psycopg

from crypto_pipeline.store.partitions import bars, trades

#: Made ahead: one more than a check asks for, so that the night in which a month ends is no alarm.
AHEAD = 3
_EPOCH = date(1970, 1, 1)

_COUNT = """
SELECT p.relname, count(c.oid) FILTER (
    WHERE substring(c.relname FROM length(p.relname) + 2) > to_char(%s::date, CASE WHEN p.relname = 'trades'
          THEN 'YYYY_MM_DD' ELSE 'YYYY_MM' END))
FROM pg_class p LEFT JOIN pg_inherits h ON h.inhparent = p.oid LEFT JOIN pg_class c ON c.oid = h.inhrelid
WHERE p.relnamespace = 'market'::regnamespace AND p.relname = ANY(%s)
GROUP BY 1 ORDER BY 1
"""


def make(connection: psycopg.Connection[Any], now: datetime, ahead: int = AHEAD) -> None:
    """Partitions of this month and ``ahead`` further ones of the fine timeframes, and of as many days of trades.

    One transaction; safe beside writers that make the same.
    """
    today = now.astimezone(UTC).date()
    month = (today.year - 1970) * 12 + today.month - 1
    for further in range(ahead + 1):
        for timeframe in sorted(bars.MONTHLY, key=lambda one: one.minutes):
            bars.ensure(connection, timeframe, month + further)
        trades.ensure_day(connection, (today - _EPOCH).days + further)


def count(connection: psycopg.Connection[Any], now: datetime) -> dict[str, int]:
    """How many partitions lie wholly in the future: table → number, of monthly bars and daily trades."""
    tables = [bars.table(timeframe, None) for timeframe in bars.MONTHLY] + ["trades"]
    return dict(connection.execute(_COUNT, [now.astimezone(UTC).date(), tables]).fetchall())
