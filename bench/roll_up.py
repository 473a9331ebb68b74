"""Roll-up of 1m bars to all seven wider timeframes: ours, DuckDB and pandas, the venue-exact rule in all three.

    python bench/roll_up.py [--rows 10000000] [--repeat 5]

The others get what favours them: bars in their own memory layout before the clock starts, names as an enumeration or a
category, results left in their own tables, and the same cascade (5m from 1m, 15m from 5m …) that we use; DuckDB and
pandas also every timeframe straight from 1m. Results are compared value by value.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
from common import numbers

from crypto_pipeline.market import HIGHER_TIMEFRAMES, Timeframe, roll_up_all

INSTRUMENTS = 90
START = datetime(2025, 6, 2, tzinfo=UTC)


def make_bars(rows: int, flat: float = 0.1) -> pl.DataFrame:
    """Sorted 1m bars of 90 instruments; one minute in ten has no trade and repeats the previous close."""
    each = rows // INSTRUMENTS + 1
    random = np.random.default_rng(1)
    total = each * INSTRUMENTS
    volume = np.where(random.random(total) < flat, 0.0, np.round(random.exponential(size=total), 5))
    step = np.where(volume > 0, np.round(random.normal(size=total), 2) / 100, 0.0)
    close = np.round(1000 + np.cumsum(step), 4)
    opened = np.concatenate(([1000.0], close[:-1]))
    spread = np.where(volume > 0, 0.01, 0.0)
    opens = pl.datetime_range(START, START + timedelta(minutes=each - 1), "1m", time_unit="ms", eager=True)
    return pl.DataFrame(
        {
            "instrument": np.repeat([f"COIN{number:02d}-USDT" for number in range(INSTRUMENTS)], each),
            "open_time": pl.concat([opens] * INSTRUMENTS),
            "open": opened,
            "high": np.maximum(opened, close) + spread,
            "low": np.minimum(opened, close) - spread,
            "close": close,
            "volume": volume,
        }
    ).rechunk()


def duckdb_tables(bars: pl.DataFrame) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET threads = 2; SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
    connection.register("given", bars.to_arrow())
    connection.execute("CREATE TYPE names AS ENUM (SELECT DISTINCT instrument FROM given ORDER BY 1)")
    connection.execute(
        """CREATE TABLE "1m" AS SELECT instrument::names AS instrument, open_time::timestamp AS open_time,
           open, high, low, close, volume FROM given"""
    )
    return connection


def duckdb_roll_up(connection: duckdb.DuckDBPyConnection, *, cascade: bool) -> None:
    finer = Timeframe.M1
    for timeframe in HIGHER_TIMEFRAMES:
        width = "7 days" if timeframe is Timeframe.W1 else f"{timeframe.minutes} minutes"
        window = f"time_bucket(INTERVAL '{width}', open_time, TIMESTAMP '1970-01-05')"
        connection.execute(
            f"""CREATE OR REPLACE TABLE "{timeframe}" AS
            SELECT instrument, {window} AS open_time,
                   coalesce(arg_min(open, open_time) FILTER (WHERE volume > 0), arg_min(open, open_time)) AS open,
                   coalesce(max(high) FILTER (WHERE volume > 0), max(high)) AS high,
                   coalesce(min(low) FILTER (WHERE volume > 0), min(low)) AS low,
                   coalesce(arg_max(close, open_time) FILTER (WHERE volume > 0), arg_max(close, open_time)) AS close,
                   sum(volume) AS volume
            FROM "{finer}" GROUP BY 1, 2"""
        )
        if cascade:
            finer = timeframe


def pandas_roll_up(bars: pd.DataFrame, *, cascade: bool = True) -> dict[Timeframe, pd.DataFrame]:
    result = {}
    for timeframe in HIGHER_TIMEFRAMES:
        anchor = pd.Timestamp(1970, 1, 5, tz="UTC")
        width = pd.Timedelta(timeframe.delta)
        window = anchor + (bars["open_time"] - anchor) // width * width
        flat = bars["volume"].to_numpy() <= 0
        keys = [bars["instrument"], window.rename("open_time")]
        traded = bars.assign(**{name: bars[name].mask(flat) for name in ("open", "high", "low", "close")})
        rule = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
        rolled = traded.groupby(keys, sort=False, observed=True).agg(rule)
        empty = rolled["open"].isna()
        if empty.any():
            plain = bars.groupby(keys, sort=False, observed=True).agg(rule)
            rolled = rolled.where(~empty, plain)
        result[timeframe] = rolled.reset_index()
        if cascade:
            bars = result[timeframe]
    return result


def measure(contenders: dict[str, Callable[[], Any]], repeat: int) -> dict[str, list[tuple[float, float]]]:
    """(Seconds, processor seconds) of each way, in turns, so that other load affects all of them equally.

    The first turn warms up and is not counted. On a busy machine the processor seconds are the steadier figure.
    """
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(repeat + 1):
        for name, work in contenders.items():
            begin, begin_cpu = time.perf_counter(), time.process_time()
            work()
            seconds = time.perf_counter() - begin, time.process_time() - begin_cpu
            print(f"  turn {number}, {name}: {seconds[0]:.3f} s, {seconds[1]:.3f} s of processor", file=sys.stderr)
            if number:
                took[name].append(seconds)
    return took


def check(
    ours: dict[Timeframe, pl.DataFrame], connection: duckdb.DuckDBPyConnection, others: dict[Timeframe, Any]
) -> None:
    for timeframe, mine in ours.items():
        query = f'SELECT instrument::varchar AS instrument, * EXCLUDE instrument FROM "{timeframe}"'
        theirs = pl.DataFrame(connection.sql(query).to_arrow_table()).sort("instrument", "open_time")
        panda = pl.from_pandas(others[timeframe].astype({"instrument": str})).sort("instrument", "open_time")
        for other in (theirs, panda):
            assert mine.height == other.height, timeframe
            assert mine["instrument"].equals(other["instrument"].cast(pl.String)), timeframe
            for column in ("open", "high", "low", "close"):
                assert mine[column].equals(other[column]), (timeframe, column)
            assert np.allclose(mine["volume"], other["volume"], rtol=1e-9, atol=0), timeframe


def main() -> None:
    parser = numbers(__doc__, rows=10_000_000, repeat=5)
    options = parser.parse_args()
    bars = make_bars(options.rows)
    connection = duckdb_tables(bars)
    panda = bars.to_pandas().astype({"instrument": "category"})
    contenders: dict[str, Callable[[], Any]] = {
        "crypto_pipeline roll_up_all": lambda: roll_up_all(bars),
        "DuckDB, each from 1m": lambda: duckdb_roll_up(connection, cascade=False),
        "DuckDB, cascade": lambda: duckdb_roll_up(connection, cascade=True),
        "pandas, each from 1m": lambda: pandas_roll_up(panda, cascade=False),
        "pandas, cascade": lambda: pandas_roll_up(panda),
    }
    took = measure(contenders, options.repeat)
    check(roll_up_all(bars), connection, pandas_roll_up(panda))
    print(
        f"{bars.height:,} bars of {INSTRUMENTS} instruments to {len(HIGHER_TIMEFRAMES)} timeframes, all results equal\n"
    )
    print("| | median s | fastest s | slowest s | processor s | bars/s | times ours | in processor s |")
    print("|---|---|---|---|---|---|---|---|")
    base, base_cpu = (statistics.median(column) for column in zip(*took["crypto_pipeline roll_up_all"], strict=True))
    for name, times in took.items():
        wall, cpu = zip(*times, strict=True)
        middle, middle_cpu = statistics.median(wall), statistics.median(cpu)
        print(
            f"| {name} | {middle:.3f} | {min(wall):.3f} | {max(wall):.3f} | {middle_cpu:.3f} "
            f"| {bars.height / middle:,.0f} | {middle / base:.1f} | {middle_cpu / base_cpu:.1f} |"
        )


if __name__ == "__main__":
    main()
