"""Refused bars: kept in ``market.bars_apart`` with the reason and the stated values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.store.database.frames import named
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.values import MOST, RefusedRow, without_zero_bytes

_REFUSE = """
INSERT INTO market.bars_apart AS a (instrument_id, venue, timeframe, open_time, reason, said)
SELECT b.instrument, %(venue)s, %(timeframe)s, b.at, b.reason, b.said
FROM unnest(%(instruments)s::int[], %(times)s::timestamptz[], %(reasons)s::text[], %(said)s::text[])
     AS b (instrument, at, reason, said)
ORDER BY b.instrument, b.at
ON CONFLICT (instrument_id, venue, timeframe, open_time) DO UPDATE
SET reason = excluded.reason, said = excluded.said, last_seen = clock_timestamp(), times = a.times + 1
"""

_READ = """
SELECT instrument_id, venue, timeframe, open_time, reason, said, first_seen, last_seen, times
FROM market.bars_apart WHERE instrument_id = ANY($1) ORDER BY instrument_id, timeframe, open_time, venue
"""


class BarsApart:
    """Writes and reads ``market.bars_apart``. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def refuse(self, venue: str, instrument: str, timeframe: Timeframe, rows: Sequence[RefusedRow]) -> int:
        """Record refused bars of ``venue``; a bar that is sent again keeps one row. Return the number of bars."""
        times = [None if row.ms is None else from_unix_ms(row.ms) for row in rows]
        bars = [(instrument, at, row.reason, row.said) for at, row in zip(times, rows, strict=True)]
        return self.refuse_many(venue, timeframe, bars)

    def refuse_many(
        self,
        venue: str,
        timeframe: Timeframe,
        bars: Sequence[tuple[str, datetime | None, str, str]],
        most: int = MOST,
    ) -> int:
        """Record refused bars of several instruments: (instrument, open time, reason, stated values).

        Of more than ``most`` bars only the last ones are recorded.
        """
        newest = {bar[:2]: bar for bar in bars[-most:]}
        if not newest:
            return 0
        ids = self._symbols.ids({name for name, _ in newest})
        values = {
            "venue": venue,
            "timeframe": str(timeframe),
            "instruments": [ids[name] for name, _ in newest],
            "times": [at for _, at in newest],
            "reasons": [without_zero_bytes(reason) for _, _, reason, _ in newest.values()],
            "said": [without_zero_bytes(said) for *_, said in newest.values()],
        }

        def work(connection: psycopg.Connection[Any]) -> int:
            return connection.execute(_REFUSE, values).rowcount

        return self._connections.run(work)

    def read(self, instruments: Sequence[str]) -> pl.DataFrame:
        """All refused bars of these instruments."""
        ids = self._symbols.ids(instruments)
        return named(self._connections.frame(_READ, [list(ids.values())]), ids)
