"""Bars for tests: small, but with every kind of null, tie and source."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

SYMBOLS = ("BTC-USDT", "ETH-USDT", "DOGE-USDT", "AAVE-USDT")
#: A Monday at the end of a month, so that days, weeks and months all end nearby.
START = datetime(2025, 3, 31, tzinfo=UTC)


def add_symbols(store: Store) -> None:
    store.instruments.add([Instrument.crypto(symbol) for symbol in SYMBOLS])


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=BAR_SCHEMA, orient="row") if rows else pl.DataFrame(schema=BAR_SCHEMA)


def bar(symbol: str = "BTC-USDT", at: datetime = START, **values: Any) -> dict[str, Any]:
    price = values.pop("price", 100.0)
    return {
        "instrument": symbol,
        "open_time": at,
        "open": price,
        "high": price + 1,
        "low": price - 1,
        "close": price + 0.5,
        "volume": 1.0,
        "quote_volume": 100.0,
        "taker_buy_volume": 0.5,
        "trade_count": 3,
        "source": "venue_historical",
        "complete": True,
        "revision": at + timedelta(hours=1),
    } | values


def series(
    symbols: tuple[str, ...] = SYMBOLS,
    count: int = 1440,
    start: datetime = START,
    timeframe: Timeframe = Timeframe.M1,
    seed: int = 1,
    source: str = "venue_historical",
    revised: timedelta = timedelta(0),
) -> pl.DataFrame:
    """``count`` bars of each symbol; another seed gives other values."""
    rng = np.random.default_rng(seed)
    rows = count * len(symbols)
    times = np.tile(int(start.timestamp() * 1000) + np.arange(count) * timeframe.milliseconds, len(symbols))
    prices = 100 + rng.random(rows)
    volumes = rng.random(rows).round(3)
    return pl.DataFrame(
        {
            "instrument": np.repeat(symbols, count),
            "open_time": times,
            "open": prices,
            "high": prices + 1,
            "low": prices - 1,
            "close": prices + 0.5,
            "volume": volumes,
            "quote_volume": volumes * prices,
            "taker_buy_volume": volumes / 2,
            "trade_count": rng.integers(0, 100, rows),
            "source": [source] * rows,
            "complete": rng.random(rows) < 0.9,
            "revision": times + timeframe.milliseconds + int(revised.total_seconds() * 1000),
        }
    ).select(
        pl.col(name).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
        if name in ("open_time", "revision")
        else pl.col(name).cast(dtype)
        for name, dtype in BAR_SCHEMA.items()
    )


def stored(store: Store, timeframe: Timeframe, as_of: datetime | None = None) -> pl.DataFrame:
    """Everything there is of the timeframe, as bars."""
    begin, end = datetime(2000, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)
    return store.reader.read(SYMBOLS, timeframe, begin, end, as_of=as_of).select(*BAR_SCHEMA)


def database_clock(store: Store) -> datetime:
    row = store.connections.run(lambda connection: connection.execute("SELECT clock_timestamp()").fetchone())
    assert row is not None
    moment: datetime = row[0]
    return moment


def empty_tables(store: Store) -> None:
    """Forget all bars and what is known of them, months included."""
    store.connections.run(
        lambda connection: connection.execute(
            """
            DO $$
            DECLARE month regclass;
            BEGIN
                FOR month IN
                    SELECT inhrelid::regclass FROM pg_inherits
                    WHERE inhparent::regclass::text IN ('market.ohlc_1m', 'market.ohlc_5m', 'market.ohlc_15m')
                LOOP
                    EXECUTE 'DROP TABLE ' || month;
                END LOOP;
            END $$;
            TRUNCATE market.ohlc_data, market.ohlc_revisions, market.coverage, market.gaps, market.reconciliations,
                market.archive_files, market.comparisons, lake.files, lake.days, iceberg.iceberg_tables,
                iceberg.listed_files
            """
        )
    )


def miscounted(store: Store) -> list[Any]:
    """Cells whose ``present`` is not what is stored; there must never be one."""
    return store.connections.run(
        lambda connection: connection.execute(
            """
            SELECT * FROM (
                SELECT instrument_id, timeframe, (open_time AT TIME ZONE 'UTC')::date AS day, count(*) AS rows
                FROM market.ohlc_data GROUP BY 1, 2, 3
            ) AS there
            FULL JOIN market.coverage c USING (instrument_id, timeframe, day)
            WHERE coalesce(there.rows, 0) <> coalesce(c.present - c.archived, 0)
               OR c.final <> (c.expected > 0 AND c.present + c.explained >= c.expected)
            """
        ).fetchall()
    )
