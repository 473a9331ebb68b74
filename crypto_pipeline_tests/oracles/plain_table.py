"""The plain table: every copy of a bar that was ever stored, in one ordinary table that nothing archives or drops.

What the reader answers, from wherever, must be what plain SQL says of it: of the copies known at a moment the best, by
the precedence of invariant I1.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

from crypto_pipeline.reading.query import Question
from crypto_pipeline.store import Store
from crypto_pipeline.store.columns.frames import READ_SCHEMA

_MAKE = """
CREATE SCHEMA IF NOT EXISTS plain;
CREATE TABLE IF NOT EXISTS plain.copies (
    LIKE market.ohlc_data, PRIMARY KEY (instrument_id, timeframe, open_time, recorded_at));
TRUNCATE plain.copies;
"""
_COLUMNS = (
    "open_time, open, high, low, close, volume, quote_volume, taker_buy_volume, trade_count, revision, recorded_at, "
    "instrument_id, source_rank, complete, timeframe"
)
# a copy whose values were stated again has a newer revision, and is the same copy
_FOLLOW = f"""
INSERT INTO plain.copies ({_COLUMNS})
SELECT {_COLUMNS} FROM market.ohlc_data UNION ALL SELECT {_COLUMNS} FROM market.ohlc_revisions
ON CONFLICT (instrument_id, timeframe, open_time, recorded_at)
DO UPDATE SET revision = greatest(copies.revision, excluded.revision)
"""
_COPIES = f"""
SELECT DISTINCT ON (instrument_id, timeframe, open_time) {_COLUMNS} FROM plain.copies WHERE recorded_at <= %(as_of)s
ORDER BY instrument_id, timeframe, open_time, complete DESC, source_rank DESC, revision DESC,
    trade_count DESC NULLS LAST, volume DESC NULLS LAST, quote_volume DESC NULLS LAST, open DESC, high DESC, low DESC,
    close DESC, taker_buy_volume DESC NULLS LAST, recorded_at
"""
_ASK = f"""
SELECT * FROM (
    SELECT i.symbol AS instrument, c.open_time, c.open, c.high, c.low, c.close, c.volume, c.quote_volume,
           c.taker_buy_volume, c.trade_count, s.name AS source, c.complete, c.revision, c.recorded_at,
           CASE WHEN c.volume > 0 THEN c.quote_volume / c.volume END AS vwap,
           row_number() OVER (PARTITION BY i.symbol ORDER BY c.open_time DESC) AS place
    FROM ({_COPIES}) c
    JOIN market.instruments i USING (instrument_id)
    JOIN market.bar_sources s USING (source_rank)
    WHERE i.symbol = ANY(%(names)s) AND c.timeframe = %(timeframe)s AND c.open_time >= %(begin)s
      AND c.open_time < %(until)s AND (c.complete OR NOT %(final)s)
) q WHERE place <= %(last)s ORDER BY instrument COLLATE "C", open_time
"""


class Plain:
    """Follows a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        store.connections.run(lambda connection: connection.execute(_MAKE) and None)

    def follow(self) -> None:
        """Take over what was written; to be called before and after every archive run."""
        self.store.connections.run(lambda connection: connection.execute(_FOLLOW) and None)

    def ask(self, asked: Question, now: datetime) -> pl.DataFrame:
        """What plain SQL says to a question for stored bars, without fill."""
        values: dict[str, Any] = {
            "names": list(asked.instruments), "timeframe": str(asked.timeframe),
            "begin": asked.start or datetime(1, 1, 2, tzinfo=now.tzinfo), "until": asked.end or now,
            "as_of": asked.as_of or datetime(9999, 1, 1, tzinfo=now.tzinfo),
            "final": asked.final_only, "last": asked.last or 10**9,
        }  # fmt: skip
        rows = self.store.connections.run(lambda connection: connection.execute(_ASK, values).fetchall())
        schema = {**READ_SCHEMA, "open_time": READ_SCHEMA["recorded_at"], "revision": READ_SCHEMA["recorded_at"]}
        frame = pl.DataFrame([row[:-1] for row in rows], schema=schema, orient="row")
        return frame.select(pl.col(name).cast(dtype) for name, dtype in READ_SCHEMA.items())
