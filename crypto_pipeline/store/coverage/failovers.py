"""Spans in which bars of another venue stand in for the first one (``market.failovers``), until that states its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import polars as pl
import psycopg

from crypto_pipeline.market.bars import STAND_IN, UTC_MS
from crypto_pipeline.market.precedence import SOURCE_RANKS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.frames import named, require_columns
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections

Reason = Literal["unavailable", "disputed"]

#: What ``open`` returns.
FAILOVER_SCHEMA: dict[str, pl.DataType] = {
    "failover_id": pl.Int64(),
    "instrument": pl.String(),
    "timeframe": pl.String(),
    "start": UTC_MS,
    "end": UTC_MS,
    "venue": pl.String(),
    "instead_of": pl.String(),
    "reason": pl.String(),
    "because": pl.String(),
    "attempts": pl.Int32(),
    "taken_at": UTC_MS,
    "next_attempt": UTC_MS,
}
#: A span that was taken so recently may still be being written, seconds.
_FRESH = 60.0

# One that goes on is one row, however many passes it takes.
_EXTEND = """
UPDATE market.failovers f
SET start_time = least(f.start_time, %(start)s), end_time = greatest(f.end_time, %(end)s), because = %(because)s,
    taken_at = clock_timestamp(), next_attempt = %(again)s
WHERE f.failover_id = (
    SELECT failover_id FROM market.failovers
    WHERE closed_at IS NULL AND instrument_id = %(instrument)s AND timeframe = %(timeframe)s AND venue = %(venue)s
      AND instead_of = %(instead_of)s AND reason = %(reason)s AND start_time <= %(end)s AND end_time >= %(start)s
    ORDER BY failover_id LIMIT 1 FOR UPDATE)
"""
_INSERT = """
INSERT INTO market.failovers (instrument_id, timeframe, start_time, end_time, venue, instead_of, reason, because,
                              next_attempt)
VALUES (%(instrument)s, %(timeframe)s, %(start)s, %(end)s, %(venue)s, %(instead_of)s, %(reason)s, %(because)s,
        %(again)s)
"""
_OPEN = """
SELECT failover_id, instrument_id, timeframe, start_time AS start, end_time AS "end", venue, instead_of, reason,
       because, attempts, taken_at, next_attempt
FROM market.failovers
WHERE closed_at IS NULL AND instead_of = $1 AND ($2 = '' OR timeframe = $2) AND ($3 = '' OR reason = $3)
"""
_ASKED = """
UPDATE market.failovers
SET attempts = attempts + 1,
    next_attempt = %(now)s::timestamptz + make_interval(secs => %(wait)s * 4.0 ^ least(attempts, 7)),
    closed_at = CASE WHEN attempts + 1 >= %(most)s THEN now() END,
    outcome = CASE WHEN attempts + 1 >= %(most)s THEN 'kept' END
WHERE failover_id = ANY(%(ids)s) AND closed_at IS NULL
"""
_REPLACED = """
UPDATE market.failovers f SET closed_at = now(), outcome = 'replaced', next_attempt = NULL
WHERE f.closed_at IS NULL AND f.instead_of = %(instead_of)s
  AND (f.taken_at < clock_timestamp() - make_interval(secs => %(fresh)s) OR f.failover_id = ANY(%(ids)s))
  AND NOT EXISTS (
      SELECT FROM market.ohlc_data o
      WHERE o.instrument_id = f.instrument_id AND o.timeframe = f.timeframe
        AND o.open_time >= f.start_time AND o.open_time < f.end_time AND o.source_rank = ANY(%(ranks)s))
"""


class Failovers:
    """Reads and writes ``market.failovers``. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols
        self._ranks = sorted(SOURCE_RANKS[source] for source in STAND_IN)

    def record(
        self,
        spans: pl.DataFrame,
        timeframe: Timeframe,
        venue: str,
        instead_of: str,
        reason: Reason,
        because: str,
        again: datetime | None,
    ) -> None:
        """Write down that bars of ``venue`` stand in ``spans`` (``instrument``, ``start``, ``end``).

        To be done before the bars are written: a span without such bars closes by itself, bars without a span would
        never be replaced. ``again`` is when the first venue is asked for them; None: not by itself.
        """
        require_columns(spans, ["instrument", "start", "end"], "a frame of spans")
        ids = self._symbols.ids(spans["instrument"].unique().to_list())
        fixed = {
            "timeframe": str(timeframe), "venue": venue, "instead_of": instead_of, "reason": reason,
            "because": because[:500].replace("\x00", ""), "again": again,
        }  # fmt: skip
        rows = [
            fixed | {"instrument": ids[name], "start": start, "end": end}
            for name, start, end in spans.select("instrument", "start", "end").sort("instrument", "start").iter_rows()
        ]

        def work(connection: psycopg.Connection[Any]) -> None:
            for row in rows:
                if connection.execute(_EXTEND, row).rowcount == 0:
                    connection.execute(_INSERT, row)

        self._connections.run(work)

    def open(self, instead_of: str, timeframe: Timeframe | None = None, reason: Reason | None = None) -> pl.DataFrame:
        """Spans whose bars the venue ``instead_of`` has not stated yet, in FAILOVER_SCHEMA, by instrument and start."""
        ids = {symbol: number for number, symbol in self._symbols.names().items()}
        rows = named(self._connections.frame(_OPEN, [instead_of, str(timeframe or ""), reason or ""]), ids)
        return rows.select(pl.col(name).cast(dtype) for name, dtype in FAILOVER_SCHEMA.items()).sort(
            "instrument", "start"
        )

    def due(self, instead_of: str, now: datetime, timeframe: Timeframe | None = None) -> pl.DataFrame:
        """Of these, those that the venue is to be asked for by now."""
        return self.open(instead_of, timeframe).filter(pl.col("next_attempt") <= now)

    def asked(self, ids: Sequence[int], now: datetime, wait: timedelta, most: int) -> None:
        """The venue was asked for these spans and answered: again ``wait`` after ``now``, four times as long each time.

        After ``most`` answers without the bars the span is closed, and the other venue's bars are kept.
        """
        values = {"ids": list(ids), "now": now, "wait": wait.total_seconds(), "most": most}
        self._connections.run(lambda connection: connection.execute(_ASKED, values) and None)

    def close_replaced(self, instead_of: str, ids: Iterable[int] = ()) -> int:
        """Close spans in which no other venue's bar is left; returns how many.

        One that was taken a moment ago is left alone, because its bars may be on their way, unless it is in ``ids``.
        """
        values = {"instead_of": instead_of, "fresh": _FRESH, "ids": list(ids), "ranks": self._ranks}
        return self._connections.run(lambda connection: connection.execute(_REPLACED, values).rowcount)
