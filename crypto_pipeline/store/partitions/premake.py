"""Partitions made in advance, so that the first bar of a month does not wait for its table."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import psycopg

from crypto_pipeline.store.partitions import bars, trades

#: Partitions made in advance: one more than the check requires, so that it does not fail in the night a month ends.
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
    """Make partitions of this and ``ahead`` further months of the fine timeframes, and of as many days of trades.

    Runs in the caller's transaction; writers may make the same partitions at the same time.
    """
    today = now.astimezone(UTC).date()
    month = (today.year - 1970) * 12 + today.month - 1
    for further in range(ahead + 1):
        for timeframe in sorted(bars.MONTHLY, key=lambda one: one.minutes):
            bars.ensure(connection, timeframe, month + further)
        trades.ensure_day(connection, (today - _EPOCH).days + further)


def count(connection: psycopg.Connection[Any], now: datetime) -> dict[str, int]:
    """Number of partitions entirely in the future, of monthly bars and daily trades: table → number."""
    tables = [bars.table(timeframe, None) for timeframe in bars.MONTHLY] + ["trades"]
    return dict(connection.execute(_COUNT, [now.astimezone(UTC).date(), tables]).fetchall())
