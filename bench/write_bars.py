"""Speed of writing bars, compared with plain binary COPY of the same rows into the same partition with its key.

    python bench/write_bars.py [--url postgresql://…] [--instruments 20] [--days 25] [--rounds 5]

Every round measures everything once, in one database, so that ratios compare like with like. A write of many bars uses
two sessions where there are two processors, which plain COPY does not unless it is said. Processor time hardly depends
on others at work, as wall time does. Without a URL a server of its own is started with the product's settings (default
durability) and thrown away afterwards; of another server's processor time nothing is known.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import psutil
from common import cpu_seconds, machine, postmaster, table
from psycopg import sql

from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import EmbeddedServer, Store, migrate
from crypto_pipeline.store.columns import bars
from crypto_pipeline.store.columns.bars import take
from crypto_pipeline.store.columns.copy_format import PG_EPOCH_US
from crypto_pipeline.store.partitions import bars as partitions

M1 = Timeframe.M1
MONTH = datetime(2025, 3, 1, tzinfo=UTC)
PARTITION = partitions.identifier("ohlc_1m_2025_03")
BATCH = 50_000
#: Rows a second, and microseconds of processor time a row: of the server, and of this process.
Measured = tuple[float, float, float]


def make_bars(symbols: list[str], days: int) -> pl.DataFrame:
    """Sorted by instrument and time, as a backfill brings them."""
    rng, count = np.random.default_rng(1), days * 1440
    rows = count * len(symbols)
    times = np.tile(int(MONTH.timestamp() * 1000) + np.arange(count) * 60_000, len(symbols))
    opens, closes, volumes = 100 + rng.random(rows), 100 + rng.random(rows), rng.random(rows)
    columns = {
        "instrument": np.repeat(symbols, count),
        "open_time": times,
        "open": opens,
        "high": np.maximum(opens, closes),
        "low": np.minimum(opens, closes),
        "close": closes,
        "volume": volumes,
        "quote_volume": volumes * opens,
        "taker_buy_volume": volumes / 2,
        "trade_count": rng.integers(0, 1000, rows),
        "source": ["venue_historical"] * rows,
        "complete": [True] * rows,
        "revision": times + 60_000,
    }
    moments = [pl.col(name).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC") for name in ("open_time", "revision")]
    return (
        pl.DataFrame(columns).with_columns(moments).select(pl.col(name).cast(kind) for name, kind in BAR_SCHEMA.items())
    )


class Bench:
    """One database and one set of bars."""

    def __init__(self, store: Store, server: psutil.Process | None, instruments: int, days: int) -> None:
        self.store, self.server = store, server
        symbols = [f"A{number:02d}-USDT" for number in range(instruments)]
        store.instruments.add([Instrument.crypto(symbol) for symbol in symbols])
        self.ids = store.instruments.ids()
        self.bars = make_bars(symbols, days)
        self.newer = self.bars.with_columns(
            pl.col("volume") + 1, (pl.col("revision") + timedelta(seconds=1)).alias("revision")
        )

    def sql(self, *statements: str) -> None:
        for statement in statements:
            self.store.connections.run(lambda connection, text=statement: connection.execute(text))

    def clear(self, *, partition: bool) -> None:
        """An empty market with or without the month's partition, everything on disk."""
        self.sql(
            "DROP TABLE IF EXISTS market.ohlc_1m_2025_03",
            "TRUNCATE market.ohlc_revisions, market.coverage, market.gaps",
        )
        if partition:
            self.store.connections.run(partitions.ensure, M1, (2025 - 1970) * 12 + 2)
        # let no checkpoint of earlier work fall into the next measurements
        with self.store.connections.transaction() as connection:
            connection.execute("CHECKPOINT")

    def two_copies(self, frame: pl.DataFrame) -> None:
        """``plain_copy`` of both halves at the same time."""
        half = len(frame) // 2
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self.plain_copy, (frame[:half], frame[half:])))

    def plain_copy(self, frame: pl.DataFrame) -> None:
        """The reference: encode and COPY into the partition with its key, one transaction per batch; nothing else."""
        columns = bars.from_frame(frame, self.ids)
        columns["recorded_at"] = np.full(len(frame), int(time.time() * 1e6) - PG_EPOCH_US)
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(PARTITION, bars.column_list())
        for start in range(0, len(frame), BATCH):
            with self.store.connections.transaction() as connection, connection.cursor() as cursor:
                bars.copy_in(cursor, statement, M1, take(columns, slice(start, start + BATCH)))

    def write(self, frame: pl.DataFrame) -> None:
        self.store.bars.write(frame, M1)

    def pieces(self, frame: pl.DataFrame) -> None:
        """As healing writes: frame by frame, of a transaction's size."""
        for piece in frame.iter_slices(BATCH):
            self.store.bars.write(piece, M1)

    def timed(self, work: Callable[[pl.DataFrame], None], frame: pl.DataFrame) -> Measured:
        servers = [self.server] if self.server else []
        before, ours = cpu_seconds(servers), time.process_time()
        begin = time.perf_counter()
        work(frame)
        took = time.perf_counter() - begin
        spent, ours = cpu_seconds(servers) - before, time.process_time() - ours
        return len(frame) / took, spent * 1e6 / len(frame), ours * 1e6 / len(frame)

    def round(self) -> dict[str, Measured]:
        rates: dict[str, Measured] = {}
        self.clear(partition=True)
        rates["plain COPY"] = self.timed(self.plain_copy, self.bars)
        self.clear(partition=True)
        rates["plain COPY, two sessions"] = self.timed(self.two_copies, self.bars)
        self.clear(partition=False)
        rates["first fill of a month"] = self.timed(self.write, self.bars)
        self.clear(partition=True)
        rates["upsert into an empty month that exists"] = self.timed(self.pieces, self.bars)
        rates["identical replay"] = self.timed(self.pieces, self.bars)
        rates["upsert, every row newer"] = self.timed(self.pieces, self.newer)
        rates["stale copies"] = self.timed(self.pieces, self.bars)
        self.clear(partition=True)
        self.write(self.bars)
        rates["upsert, every row newer, one frame"] = self.timed(self.write, self.newer)
        self.clear(partition=True)
        half = pl.concat([part.head(len(part) // 2) for part in self.bars.partition_by("instrument")])
        self.pieces(half)
        rates["upsert, half new and half known"] = self.timed(self.pieces, self.bars)
        changed = pl.when(pl.int_range(pl.len()) % 20 == 0)
        corrected = self.bars.with_columns(
            changed.then(pl.col("volume") + 1).otherwise(pl.col("volume")),
            changed.then(pl.col("revision") + timedelta(seconds=1)).otherwise(pl.col("revision")).alias("revision"),
        )
        rates["upsert, every 20th row newer"] = self.timed(self.pieces, corrected)
        return rates


def run(url: str, server: psutil.Process | None, options: argparse.Namespace) -> None:
    migrate(url)
    with Store(url, batch_rows=BATCH) as store:
        bench = Bench(store, server, options.instruments, options.days)
        print(f"{machine()}\n\n{len(bench.bars):,} bars, {options.rounds} rounds; medians (and range)\n")
        bench.round()  # warm up
        rounds = [bench.round() for _ in range(options.rounds)]
    lines = []
    for name in rounds[0]:
        rates, servers, ours = zip(*(measured[name] for measured in rounds), strict=True)
        ratios = [measured[name][0] / measured["plain COPY"][0] for measured in rounds]
        span = f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})"
        spent = [f"{statistics.median(values):.2f} ({min(values):.2f})" for values in (servers, ours)]
        lines.append((name, span, f"{statistics.median(ratios):.2f}", *spent))
    table(["what", "rows/s", "ratio to plain COPY of its round", "server's processor, µs a row (least)", "ours"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url")
    parser.add_argument("--instruments", type=int, default=20)
    parser.add_argument("--days", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.url:
        run(options.url, None, options)
        return
    with tempfile.TemporaryDirectory(prefix="cp-bench-") as folder:
        server = EmbeddedServer(Path(folder))
        server.prepare()
        with server.running():
            run(server.url(), postmaster(server), options)


if __name__ == "__main__":
    main()
