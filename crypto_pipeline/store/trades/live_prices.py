"""Forming bars and last prices in ``market.live_prices``, with notifications of changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.bars import UTC_MS, vwap
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.store.columns.frames import READ_SCHEMA
from crypto_pipeline.store.database.frames import named
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.trades.writer import Array, Trades, store_trades

CHANNEL = "live_prices"

_UPSERT = """
INSERT INTO market.live_prices AS p
    (instrument_id, timeframe, open_time, open, high, low, close, volume, quote_volume, taker_buy_volume, trade_count,
     last_price, last_trade_time, last_trade_id, source)
SELECT * FROM unnest(
    %(instrument_id)s::int[], %(timeframe)s::text[], %(open_time)s::timestamptz[], %(open)s::float8[],
    %(high)s::float8[], %(low)s::float8[], %(close)s::float8[], %(volume)s::float8[], %(quote_volume)s::float8[],
    %(taker_buy_volume)s::float8[], %(trade_count)s::bigint[], %(last_price)s::float8[],
    %(last_trade_time)s::timestamptz[], %(last_trade_id)s::bigint[], %(source)s::text[])
ON CONFLICT (instrument_id, timeframe) DO UPDATE
SET open_time = excluded.open_time, open = excluded.open, high = excluded.high, low = excluded.low,
    close = excluded.close, volume = excluded.volume, quote_volume = excluded.quote_volume,
    taker_buy_volume = excluded.taker_buy_volume, trade_count = excluded.trade_count,
    last_price = excluded.last_price, last_trade_time = excluded.last_trade_time,
    last_trade_id = excluded.last_trade_id, source = excluded.source, updated_at = clock_timestamp()
"""

_READ = """
SELECT instrument_id, timeframe, open_time, open, high, low, close, volume, quote_volume, taker_buy_volume,
       trade_count, last_price, last_trade_time, last_trade_id, source, updated_at,
       extract(epoch FROM clock_timestamp() - updated_at)::float8 AS age
FROM market.live_prices
WHERE instrument_id = ANY($1) AND timeframe = ANY($2)
"""

# Times in Unix milliseconds: these rows are sent on as they are.
_TOLD = """
SELECT i.symbol, p.timeframe, (extract(epoch FROM p.open_time) * 1000)::bigint, p.open, p.high, p.low, p.close,
       p.volume, p.quote_volume, p.taker_buy_volume, p.trade_count, p.last_price,
       (extract(epoch FROM p.last_trade_time) * 1000)::bigint, p.last_trade_id, p.source
FROM market.live_prices p JOIN market.instruments i USING (instrument_id)
WHERE i.active AND p.timeframe = ANY(%(timeframes)s) AND (%(symbols)s::text[] IS NULL OR i.symbol = ANY(%(symbols)s))
ORDER BY i.symbol, p.timeframe
"""

# The last trade, or the close of the newest minute where that is newer: not every venue tells of trades.
_LAST = """
SELECT i.symbol, p.last_price, coalesce(p.last_trade_time, p.open_time), b.close, b.open_time + interval '1 minute'
FROM market.instruments i
LEFT JOIN market.live_prices p ON p.instrument_id = i.instrument_id AND p.timeframe = '1m'
LEFT JOIN LATERAL (
    SELECT o.close, o.open_time FROM market.ohlc_data o
    WHERE o.instrument_id = i.instrument_id AND o.timeframe = '1m' AND o.open_time <= market.now()
    ORDER BY o.open_time DESC LIMIT 1
) AS b ON true
WHERE i.symbol = ANY(%s)
"""

# The newest minute that was over at a moment, within some days: a stock has none on a weekend.
_CLOSES = """
SELECT i.symbol, b.close
FROM market.instruments i
CROSS JOIN LATERAL (
    SELECT o.close FROM market.ohlc_data o
    WHERE o.instrument_id = i.instrument_id AND o.timeframe = '1m'
      AND o.open_time <= %(until)s AND o.open_time > %(after)s
    ORDER BY o.open_time DESC LIMIT 1
) AS b
WHERE i.symbol = ANY(%(names)s)
"""
_MOST_BACK = timedelta(days=4)


@dataclass(slots=True)
class LivePrice:
    """A forming bar and the last price. Times are Unix milliseconds; unknown values are None."""

    instrument: str
    timeframe: Timeframe
    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float | None
    taker_buy_volume: float | None
    trade_count: int | None
    last_price: float
    last_ms: int | None
    last_id: int | None
    source: str


class Live:
    """Writes and reads forming bars and last prices. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols, trades: Trades) -> None:
        self._connections, self._symbols, self._trades = connections, symbols, trades

    def flush(
        self, venue: str, trades: Mapping[str, Array] | None = None, prices: Sequence[LivePrice] = ()
    ) -> tuple[int, int]:
        """Store trades and their prices in one transaction, and notify listeners.

        Returns the number of new trades and of written rows of prices.
        """
        prepared = self._trades.prepare(venue, trades) if trades is not None else None
        values = self._values(prices) if prices else None
        told = listed_names(price.instrument for price in prices)

        def work(connection: psycopg.Connection[Any]) -> int:
            added = store_trades(connection, prepared) if prepared is not None else 0
            if values is not None:
                connection.execute(_UPSERT, values)
                connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, told])
            return added

        return self._connections.run(work), len(prices)

    def prices(
        self, instruments: Sequence[str] | None = None, timeframes: Sequence[Timeframe] = (Timeframe.M1,)
    ) -> pl.DataFrame:
        """Forming bars and last prices, one row per instrument and timeframe; ``age`` is in seconds."""
        if instruments is None:
            ids = {symbol: number for number, symbol in self._symbols.names().items()}
        else:
            ids = self._symbols.ids(instruments)
        answer = self._connections.frame(_READ, [list(ids.values()), [str(each) for each in timeframes]])
        moments = pl.col("open_time", "last_trade_time", "updated_at").cast(UTC_MS)
        return named(answer, ids).with_columns(moments).sort("instrument", "timeframe")

    def told(self, instruments: Collection[str] | None, timeframes: Collection[Timeframe]) -> list[LivePrice]:
        """Rows of some instruments (None: of all that are collected), as they were written; unknown names have none.

        For frequent reads of few rows. Raises StoreError.
        """
        values = {
            "symbols": None if instruments is None else list(instruments),
            "timeframes": [str(each) for each in timeframes],
        }
        rows = self._connections.rows(_TOLD, values)
        return [LivePrice(symbol, Timeframe(timeframe), *rest) for symbol, timeframe, *rest in rows]

    def last_prices(self, instruments: Sequence[str]) -> dict[str, tuple[float, datetime]]:
        """The last known price of each instrument that has one, and when it was the price (the market's time, UTC)."""
        found: dict[str, tuple[float, datetime]] = {}
        for name, price, traded, close, closed in self._connections.rows(_LAST, [list(instruments)]):
            known = [(at.astimezone(UTC), value) for value, at in ((close, closed), (price, traded)) if at is not None]
            if known:
                at, value = max(known, key=lambda one: one[0])
                found[name] = value, at
        return found

    def closes(self, instruments: Sequence[str], moment: datetime) -> dict[str, float]:
        """The close of the newest 1m bar that was over at ``moment`` (aware), of each instrument that has one in the
        table within the four days before."""
        until = moment - Timeframe.M1.delta
        given = {"names": list(instruments), "until": until, "after": until - _MOST_BACK}
        return {name: float(close) for name, close in self._connections.rows(_CLOSES, given)}

    def forming(self, instruments: Sequence[str], timeframe: Timeframe) -> pl.DataFrame:
        """The forming bars, at most one per instrument, in READ_SCHEMA.

        ``source`` is "forming", ``complete`` is false, ``revision`` and ``recorded_at`` are the time of the last write.
        """
        rows = self.prices(instruments, [Timeframe(timeframe)]).with_columns(
            pl.lit("forming").alias("source"),
            pl.lit(False).alias("complete"),
            pl.col("updated_at").alias("revision"),
            pl.col("updated_at").alias("recorded_at"),
            vwap(),
        )
        absent = [pl.lit(None, dtype).alias(name) for name, dtype in READ_SCHEMA.items() if name not in rows.columns]
        return rows.with_columns(absent).select(pl.col(name).cast(dtype) for name, dtype in READ_SCHEMA.items())

    def _values(self, prices: Sequence[LivePrice]) -> dict[str, list[Any]]:
        ids = self._symbols.ids({price.instrument for price in prices})
        # in key order, so that two writers (of different shards) never deadlock
        rows = sorted(prices, key=lambda price: (ids[price.instrument], price.timeframe))
        return {
            "instrument_id": [ids[row.instrument] for row in rows],
            "timeframe": [str(row.timeframe) for row in rows],
            "open_time": [from_unix_ms(row.open_ms) for row in rows],
            "open": [row.open for row in rows],
            "high": [row.high for row in rows],
            "low": [row.low for row in rows],
            "close": [row.close for row in rows],
            "volume": [row.volume for row in rows],
            "quote_volume": [row.quote_volume for row in rows],
            "taker_buy_volume": [row.taker_buy_volume for row in rows],
            "trade_count": [row.trade_count for row in rows],
            "last_price": [row.last_price for row in rows],
            "last_trade_time": [None if row.last_ms is None else from_unix_ms(row.last_ms) for row in rows],
            "last_trade_id": [row.last_id for row in rows],
            "source": [row.source for row in rows],
        }


def listed_names(symbols: Iterable[str]) -> str:
    """Names of instruments as a notification's payload; empty, which means all, if they do not fit."""
    text = ",".join(dict.fromkeys(symbols))
    return text if len(text) < 7900 else ""
