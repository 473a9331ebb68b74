"""Refused trades, and stored trades that a later answer contradicted, in ``market.trades_apart``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.store.database.frames import named
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.values import MOST, RefusedRow, without_zero_bytes

_REFUSE = """
INSERT INTO market.trades_apart AS a (instrument_id, venue_id, reason, trade_id, "time", said)
SELECT %(instrument)s, %(venue)s, 'refused', t.trade_id, t.at, t.said
FROM unnest(%(ids)s::numeric[], %(times)s::timestamptz[], %(said)s::text[]) AS t (trade_id, at, said)
ON CONFLICT (instrument_id, venue_id, reason, trade_id) DO UPDATE
SET said = excluded.said, last_seen = clock_timestamp(), times = a.times + 1
"""

#: Records the stored trades in ``pg_temp.doubted_trades``; ``reason`` says what happens to each.
KEEP_DOUBTED = """
INSERT INTO market.trades_apart AS a
    (instrument_id, venue_id, reason, trade_id, "time", price, quantity, taker_buy, said)
SELECT DISTINCT ON (reason, trade_id) instrument_id, venue_id, reason, trade_id, "time", price, quantity, taker_buy,
       'stored; ' || CASE reason WHEN 'contradicted' THEN 'an answer lacked it, without proof by ids'
                                 WHEN 'replaced' THEN 'the venue states this id otherwise'
                                 ELSE 'the ids run on without it' END
FROM pg_temp.doubted_trades
ORDER BY reason, trade_id LIMIT 1000
ON CONFLICT (instrument_id, venue_id, reason, trade_id) DO UPDATE
SET "time" = excluded."time", price = excluded.price, quantity = excluded.quantity, taker_buy = excluded.taker_buy,
    last_seen = clock_timestamp(), times = a.times + 1
"""

_READ = """
SELECT instrument_id, reason, least(trade_id, 9007199254740993)::bigint AS trade_id, "time", price, quantity,
       taker_buy, said, first_seen, last_seen, times
FROM market.trades_apart WHERE instrument_id = ANY($1) ORDER BY instrument_id, reason, trade_id
"""

FORGET = "DELETE FROM market.trades_apart WHERE last_seen < %s"


class TradesApart:
    """Writes and reads ``market.trades_apart``. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def refuse(self, venue_id: int, instrument: str, rows: Sequence[RefusedRow]) -> int:
        """Record refused trades; a trade that is sent again keeps one row. Return the number of trades."""
        newest = {row.trade_id: row for row in rows[-MOST:]}
        values = {
            "instrument": self._symbols.ids([instrument])[instrument],
            "venue": venue_id,
            "ids": list(newest),
            "times": [None if one.ms is None else from_unix_ms(one.ms) for one in newest.values()],
            "said": [without_zero_bytes(f"{one.reason}: {one.said}") for one in newest.values()],
        }

        def work(connection: psycopg.Connection[Any]) -> int:
            return connection.execute(_REFUSE, values).rowcount

        return self._connections.run(work) if newest else 0

    def read(self, instruments: Sequence[str]) -> pl.DataFrame:
        """All refused and contradicted trades of these instruments."""
        ids = self._symbols.ids(instruments)
        return named(self._connections.frame(_READ, [list(ids.values())]), ids)

    def forget_before(self, day: date) -> int:
        """Delete rows that the venue last sent before ``day`` (UTC); return how many."""

        def work(connection: psycopg.Connection[Any]) -> int:
            return connection.execute(FORGET, [day]).rowcount

        return self._connections.run(work)
