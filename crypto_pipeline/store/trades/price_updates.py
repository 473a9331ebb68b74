"""Minutes that price updates received, in ``market.price_updates`` until they are in history, and the prices of them.

They have a table of their own, so that storing a price never waits for what writes history: it takes no lock of a
coverage cell, and needs no partition.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.bars import BAR_SCHEMA, UTC_MS, as_bars
from crypto_pipeline.store.database.frames import copy_rows, named
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.trades.live_prices import CHANNEL, listed_names

_COLUMNS = tuple(name for name in BAR_SCHEMA if name != "instrument")
_LIST = ", ".join(_COLUMNS)
_VALUES = [name for name in _COLUMNS if name != "open_time"]

# COPY into a temporary table: with arrays as parameters most of the time was spent on writing them as text.
_STAGE = "CREATE TEMP TABLE told_minutes (LIKE market.price_updates INCLUDING DEFAULTS) ON COMMIT DROP"

# A minute that is stated again replaces an older statement, so that the order of two updates does not matter.
_KEEP = f"""
INSERT INTO market.price_updates AS u (instrument_id, {_LIST})
SELECT instrument_id, {_LIST} FROM pg_temp.told_minutes ORDER BY instrument_id, open_time
ON CONFLICT (instrument_id, open_time) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in _VALUES)}, updated_at = clock_timestamp()
WHERE u.revision < excluded.revision
"""  # noqa: S608  (names of ours)

_PRICE = """
INSERT INTO market.live_prices AS p
    (instrument_id, timeframe, open_time, open, high, low, close, volume, quote_volume, taker_buy_volume, trade_count,
     last_price, source)
{rows}
ON CONFLICT (instrument_id, timeframe) DO UPDATE
SET open_time = excluded.open_time, open = excluded.open, high = excluded.high, low = excluded.low,
    close = excluded.close, volume = excluded.volume, quote_volume = excluded.quote_volume,
    taker_buy_volume = excluded.taker_buy_volume, trade_count = excluded.trade_count,
    last_price = excluded.last_price, last_trade_time = NULL, last_trade_id = NULL, source = excluded.source,
    updated_at = clock_timestamp()
WHERE p.open_time {newer} excluded.open_time
"""
_PRICE_COLUMNS = "open_time, open, high, low, close, volume, quote_volume, taker_buy_volume, trade_count"
_PRICES_OF_UPDATE = _PRICE.format(
    newer="<=",
    rows=f"""
    SELECT DISTINCT ON (instrument_id) instrument_id, '1m', {_PRICE_COLUMNS}, close, source
    FROM pg_temp.told_minutes
    ORDER BY instrument_id, open_time DESC""",  # noqa: S608  (names of ours)
)
_PRICES_OF_HISTORY = _PRICE.format(
    newer="<",
    rows=f"""
    SELECT i.instrument_id, '1m', {", ".join(f"b.{name}" for name in _PRICE_COLUMNS.split(", "))}, b.close, s.name
    FROM market.instruments i
    LEFT JOIN market.live_prices p ON p.instrument_id = i.instrument_id AND p.timeframe = '1m'
    CROSS JOIN LATERAL (
        SELECT {_PRICE_COLUMNS}, source_rank FROM market.ohlc_data o
        WHERE o.instrument_id = i.instrument_id AND o.timeframe = '1m' AND o.complete
        ORDER BY o.open_time DESC LIMIT 1) b
    JOIN market.bar_sources s USING (source_rank)
    WHERE i.active AND (i.venue IS NULL OR i.venue = %(venue)s) AND (p.open_time IS NULL OR p.open_time < b.open_time)
    ORDER BY i.instrument_id""",  # noqa: S608  (names of ours)
)

_NEWEST = """
SELECT i.symbol AS instrument, greatest(o.open_time, u.open_time) AS open_time
FROM market.instruments i
LEFT JOIN LATERAL (
    SELECT open_time FROM market.ohlc_data b
    WHERE b.instrument_id = i.instrument_id AND b.timeframe = '1m' AND b.complete
    ORDER BY open_time DESC LIMIT 1) o ON true
LEFT JOIN LATERAL (
    SELECT open_time FROM market.price_updates b
    WHERE b.instrument_id = i.instrument_id ORDER BY open_time DESC LIMIT 1) u ON true
WHERE i.active AND (i.venue IS NULL OR i.venue = $1)
ORDER BY open_time NULLS FIRST, instrument
"""

_WAITING = f"""
SELECT u.instrument_id, {", ".join(f"u.{name}" for name in _COLUMNS)}
FROM market.price_updates u JOIN market.instruments i USING (instrument_id)
WHERE i.venue IS NULL OR i.venue = $1
ORDER BY u.instrument_id, u.open_time LIMIT $2
"""  # noqa: S608  (names of ours)

_STAGE_KEYS = """
CREATE TEMP TABLE moved_minutes (instrument_id int, open_time timestamptz, revision timestamptz) ON COMMIT DROP
"""
_DROP = """
DELETE FROM market.price_updates u USING pg_temp.moved_minutes g
WHERE u.instrument_id = g.instrument_id AND u.open_time = g.open_time AND u.revision = g.revision
"""


class PriceUpdates:
    """Writes and reads ``market.price_updates``. Thread-safe; every write is one transaction that may be repeated."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def keep(self, bars: pl.DataFrame) -> int:
        """Store final 1m bars (BAR_SCHEMA), and the newest of each instrument as its price. Returns how many are new.

        A bar that was stated later replaces an earlier statement; a price is never replaced by one of an earlier
        minute. Listeners are notified. Raises StoreError for an unknown instrument.
        """
        if bars.is_empty():
            return 0
        rows, notice = self._rows(bars), listed_names(bars["instrument"])

        def work(connection: psycopg.Connection[Any]) -> int:
            connection.execute(_STAGE)
            copy_rows(connection, "told_minutes", rows)
            kept = connection.execute(_KEEP).rowcount
            connection.execute(_PRICES_OF_UPDATE)
            connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, notice])
            return kept

        return self._connections.run(work)

    def price_from_history(self, venue: str) -> int:
        """Take the newest stored minute as the price of each instrument of ``venue`` whose price is older, or absent.

        Returns how many prices changed.
        """
        return self._connections.run(
            lambda connection: connection.execute(_PRICES_OF_HISTORY, {"venue": venue}).rowcount
        )

    def newest(self, venue: str) -> pl.DataFrame:
        """Open time of the newest minute that is known, here or in history, of each active instrument of ``venue``.

        Columns ``instrument`` and ``open_time`` (null: none is); the longest ago first.
        """
        return self._connections.frame(_NEWEST, [venue]).with_columns(pl.col("open_time").cast(UTC_MS))

    def waiting(self, venue: str, most: int) -> pl.DataFrame:
        """At most ``most`` bars of ``venue`` that are not in history yet, in BAR_SCHEMA."""
        rows = self._connections.frame(_WAITING, [venue, most])
        symbols = self._symbols.names()
        return as_bars(named(rows, {symbol: number for number, symbol in symbols.items()}))

    def drop(self, bars: pl.DataFrame) -> int:
        """Delete exactly these bars, once they are in history; one that was stated anew meanwhile stays."""
        rows = self._rows(bars).select("instrument_id", "open_time", "revision")

        def work(connection: psycopg.Connection[Any]) -> int:
            connection.execute(_STAGE_KEYS)
            copy_rows(connection, "moved_minutes", rows)
            return connection.execute(_DROP).rowcount

        return self._connections.run(work)

    def _rows(self, bars: pl.DataFrame) -> pl.DataFrame:
        """The bars with ids instead of names, each once."""
        ids = self._symbols.ids(bars["instrument"].unique().to_list())
        number = pl.col("instrument").replace_strict(ids, return_dtype=pl.Int32).alias("instrument_id")
        rows = bars.select(number, *_COLUMNS).sort("instrument_id", "open_time", "revision")
        return rows.unique(["instrument_id", "open_time"], keep="last", maintain_order=True)
