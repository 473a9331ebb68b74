"""The plain table: everything that was ever stored, in two ordinary tables that nothing archives, asked by plain SQL.

What the reader answers, from wherever, must be what these tables say.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

from crypto_pipeline.reading.question import Question
from crypto_pipeline.store import Store
from crypto_pipeline.store.bar_frames import READ_SCHEMA

_MAKE = """
CREATE SCHEMA IF NOT EXISTS plain;
CREATE TABLE IF NOT EXISTS plain.bars (LIKE market.ohlc_data, PRIMARY KEY (instrument_id, timeframe, open_time));
CREATE TABLE IF NOT EXISTS plain.revisions (LIKE market.ohlc_revisions);
TRUNCATE plain.bars, plain.revisions;
"""
# A bar that comes after its month was archived replaces the archived copy: that was the truth until then.
_FOLLOW = """
INSERT INTO plain.revisions
SELECT p.open_time, p.open, p.high, p.low, p.close, p.volume, p.quote_volume, p.taker_buy_volume, p.trade_count,
       p.revision, p.recorded_at, o.recorded_at, p.instrument_id, p.source_rank, p.complete, p.timeframe
FROM plain.bars p JOIN market.ohlc_data o USING (instrument_id, timeframe, open_time)
WHERE p.recorded_at < o.recorded_at AND NOT EXISTS (
    SELECT FROM market.ohlc_revisions r
    WHERE (r.instrument_id, r.timeframe, r.open_time, r.recorded_at)
        = (p.instrument_id, p.timeframe, p.open_time, p.recorded_at));
DELETE FROM plain.bars p USING market.ohlc_data o
WHERE (p.instrument_id, p.timeframe, p.open_time) = (o.instrument_id, o.timeframe, o.open_time);
INSERT INTO plain.bars SELECT * FROM market.ohlc_data;
INSERT INTO plain.revisions SELECT r.* FROM market.ohlc_revisions r
WHERE NOT EXISTS (SELECT FROM plain.revisions p
    WHERE (p.instrument_id, p.timeframe, p.open_time, p.recorded_at)
        = (r.instrument_id, r.timeframe, r.open_time, r.recorded_at));
"""
_COPIES = """
SELECT open_time, open, high, low, close, volume, quote_volume, taker_buy_volume, trade_count, source_rank, complete,
       revision, recorded_at, instrument_id, timeframe FROM plain.bars WHERE recorded_at <= %(as_of)s
UNION ALL
SELECT open_time, open, high, low, close, volume, quote_volume, taker_buy_volume, trade_count, source_rank, complete,
       revision, recorded_at, instrument_id, timeframe
FROM plain.revisions WHERE recorded_at <= %(as_of)s AND superseded_at > %(as_of)s
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
