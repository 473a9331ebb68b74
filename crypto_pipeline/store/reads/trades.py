"""Reads of trades from table and archive."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from crypto_pipeline.market.bars import TRADE_SCHEMA
from crypto_pipeline.store.archive.catalogue import ArchiveFile
from crypto_pipeline.store.archive.reader import ARCHIVED_TRADE_SCHEMA, Archive
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.frames import named
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections

_READ = """
SELECT t.instrument_id, t.trade_id, t.first_id, t.last_id, t."time", t.price, t.quantity,
       CASE WHEN t.taker_buy THEN 'buy' ELSE 'sell' END AS taker_side, v.name AS venue
FROM market.trades t
JOIN market.venues v USING (venue_id)
WHERE t.instrument_id = ANY($1) AND t."time" >= $2 AND t."time" < $3
"""
_KEY = ["instrument", "venue", "trade_id"]
_ATTEMPTS = 5


class TradeReads:
    """Reads trades of any venue. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols, archive: Archive) -> None:
        self._connections, self._symbols, self._archive = connections, symbols, archive

    def read(
        self, instruments: Sequence[str], start: datetime, end: datetime, venue: str | None = None
    ) -> pl.DataFrame:
        """Trades of ``[start, end)`` in TRADE_SCHEMA, sorted by instrument and id.

        Raises StoreError if trades of several venues are stored and ``venue`` is None, because ids of different venues
        are unrelated.
        """
        ids = self._symbols.ids(instruments)
        found = self._both(ids, start, end)
        venues = found["venue"].unique().sort().to_list()
        if venue is not None:
            found = found.filter(pl.col("venue") == venue)
        elif len(venues) > 1:
            raise StoreError(f"there are trades of {', '.join(venues)}: name one as venue")
        return found.sort("instrument", "trade_id").select(list(TRADE_SCHEMA))

    def _both(self, ids: dict[str, int], start: datetime, end: datetime) -> pl.DataFrame:
        # the catalogue must be the same before and after, because a detached day is invisible at once
        files = self._archive.files("trades", None, start, end)
        for _ in range(_ATTEMPTS):
            hot = named(self._connections.frame(_READ, [list(ids.values()), start, end]), ids)
            hot = hot.select(pl.col(name).cast(dtype) for name, dtype in ARCHIVED_TRADE_SCHEMA.items())
            try:
                whole = self._with_files(hot, files, list(ids), start, end) if files else hot
            except FileNotFoundError:
                whole = None
            now = self._archive.files("trades", None, start, end)
            if now == files and whole is not None:
                return whole
            files = now
        raise StoreError("the archive's trades cannot be read: is the archive's folder reachable from here?")

    def _with_files(
        self, hot: pl.DataFrame, files: Sequence[ArchiveFile], names: list[str], start: datetime, end: datetime
    ) -> pl.DataFrame:
        time = pl.col("time")
        rows = self._archive.scan(files).filter(pl.col("instrument").is_in(names), time >= start, time < end)
        return pl.concat([rows.collect().join(hot, on=_KEY, how="anti"), hot])
