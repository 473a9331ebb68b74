"""A store of 51 million bars, made once and kept: 90 instruments × 8 timeframes × 300 days, ending now.

    python bench/big_store.py FOLDER [--instruments 90] [--days 300] [--fine-days 300] [--seed 1]

FOLDER becomes a data directory like any other. To use it again, in a bench or by hand:

    with EmbeddedServer(Path(FOLDER)).running() as url, Store(url) as store: ...
    crypto-pipeline read A000-USDT 1h --data-dir FOLDER

``running`` starts the server for the first user and stops it after the last one, so several benches may share a folder.
Who changes its rows (retention, archive) works on a copy: ``cp -a FOLDER COPY && rm COPY/postgres/port`` while no
server runs on it. With the same port and password the copy would be taken for the original whenever that runs.

1m bars are a random walk of each instrument, without holes; every wider bar is rolled up from them. ``--fine-days``
shortens the history of 1m, 5m and 15m alone: 20 of them make a store of 5 million bars that answers the same questions
about wider bars. Rows go through the store's own way of building a month apart and attaching it. A folder that was
built by the same call is left as it is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from psycopg import sql

from crypto_pipeline.market.bars import BarOrigin
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.precedence import SOURCE_RANKS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import EmbeddedServer, Store, migrate
from crypto_pipeline.store.bars import transaction
from crypto_pipeline.store.bars.transaction import Batch
from crypto_pipeline.store.columns import bars as bar_columns
from crypto_pipeline.store.columns.copy_format import PG_EPOCH_US
from crypto_pipeline.store.coverage.cell_locks import Cells
from crypto_pipeline.store.partitions import bars as partitions

MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FINE = partitions.MONTHLY
Array = npt.NDArray[np.float64]


def symbols(count: int) -> list[str]:
    return [f"A{number:03d}-USDT" for number in range(count)]


def month_of(moment: datetime) -> int:
    return (moment.year - 1970) * 12 + moment.month - 1


def month_start(month: int) -> datetime:
    return datetime(1970 + month // 12, month % 12 + 1, 1, tzinfo=UTC)


class Walk:
    """1m bars of all instruments, month by month; prices continue from the previous month."""

    def __init__(self, instruments: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._last = 100 * np.exp(self._rng.normal(0, 1, instruments))

    def minutes(self, count: int) -> dict[str, Array]:
        """Columns of shape (instruments, count)."""
        shape = (len(self._last), count)
        closes = self._last[:, None] * np.exp(np.cumsum(self._rng.normal(0, 5e-4, shape), axis=1))
        opens = np.concatenate([self._last[:, None], closes[:, :-1]], axis=1)
        wick = 1 + np.abs(self._rng.normal(0, 2e-4, shape))
        volumes = self._rng.gamma(2.0, 3.0, shape)
        self._last = closes[:, -1]
        return {
            "open": opens,
            "high": np.maximum(opens, closes) * wick,
            "low": np.minimum(opens, closes) / wick,
            "close": closes,
            "volume": volumes,
            "quote_volume": volumes * (opens + closes) / 2,
            "taker_buy_volume": volumes * self._rng.random(shape),
            "trade_count": np.floor(volumes * 4) + 1,
        }


def rolled(bars: dict[str, Array], width: int) -> dict[str, Array]:
    """Bars ``width`` times as wide; an incomplete last bar is left out."""
    count = bars["open"].shape[1] // width
    parts = {name: values[:, : count * width].reshape(len(values), count, width) for name, values in bars.items()}
    found = {name: values.sum(axis=2) for name, values in parts.items()}
    return found | {
        "open": parts["open"][:, :, 0],
        "high": parts["high"].max(axis=2),
        "low": parts["low"].min(axis=2),
        "close": parts["close"][:, :, -1],
    }


def columns(bars: dict[str, Array], ids: list[int], first: datetime, timeframe: Timeframe) -> bar_columns.Columns:
    """Bars in the form of the store, sorted by instrument and time."""
    count = bars["open"].shape[1]
    begin = int(first.timestamp()) * 1_000_000 - PG_EPOCH_US
    times = np.tile(begin + np.arange(count) * timeframe.seconds * 1_000_000, len(ids))
    source = BarOrigin.VENUE_HISTORICAL if timeframe is Timeframe.M1 else BarOrigin.HISTORICAL_AGGREGATED
    found: bar_columns.Columns = {name: values.reshape(-1) for name, values in bars.items()}
    return found | {
        "trade_count": found["trade_count"].astype(np.int64),
        "open_time": times,
        "revision": times + timeframe.seconds * 1_000_000,
        "instrument_id": np.repeat(np.array(ids, np.int32), count),
        "source_rank": np.full(len(times), SOURCE_RANKS[source], np.int16),
        "complete": np.ones(len(times), bool),
    }


def months(begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The span cut at the ends of months."""
    while begin < end:
        until = min(end, month_start(month_of(begin) + 1))
        yield begin, until
        begin = until


class Builder:
    def __init__(self, store: Store, options: argparse.Namespace) -> None:
        self.store, self.options = store, options
        names = symbols(options.instruments)
        store.instruments.add([Instrument.crypto(name) for name in names])
        known = store.instruments.ids()
        self.ids = sorted(known[name] for name in names)
        self.end = Timeframe.H4.floor(datetime.now(UTC))
        self.begin = Timeframe.D1.floor(self.end) - timedelta(days=options.days)
        self.fine_begin = max(self.begin, Timeframe.D1.floor(self.end) - timedelta(days=options.fine_days))
        self.rows = 0

    def put(self, timeframe: Timeframe, bars: dict[str, Array], first: datetime) -> None:
        if timeframe in FINE and first < self.fine_begin:
            skip = (self.fine_begin - first) // timeframe.delta
            bars, first = {name: values[:, skip:] for name, values in bars.items()}, self.fine_begin
        if not bars["open"].shape[1]:
            return
        made = columns(bars, self.ids, first, timeframe)
        cells = Cells.from_columns(timeframe, made["instrument_id"], bar_columns.days(made))
        whole = Batch(timeframe, month_of(first) if timeframe in FINE else None, made, cells)
        if whole.month is not None:
            built = self.store.connections.run(transaction.build, whole)
            assert built is not None, "this month was built before: begin with an empty folder"
        else:
            for piece in transaction.split(whole, 100_000):
                self.store.connections.run(transaction.write, piece)
        self.rows += len(made["open_time"])

    def build(self) -> None:
        walk, began, days = Walk(len(self.ids), self.options.seed), time.monotonic(), []
        for first, until in months(self.begin, self.end):
            minutes = walk.minutes((until - first) // MINUTE)
            for timeframe in Timeframe:
                if timeframe is not Timeframe.W1:
                    bars = rolled(minutes, timeframe.minutes) if timeframe is not Timeframe.M1 else minutes
                    self.put(timeframe, bars, first)
                    if timeframe is Timeframe.D1:
                        days.append(bars)
            print(
                f"{first:%Y-%m}: {self.rows:,} rows, {self.rows / (time.monotonic() - began):,.0f} rows/s", flush=True
            )
        joined = {name: np.concatenate([part[name] for part in days], axis=1) for name in days[0]}
        monday = Timeframe.W1.ceil(self.begin)
        skip = (monday - self.begin).days
        self.put(Timeframe.W1, rolled({name: values[:, skip:] for name, values in joined.items()}, 7), monday)

    def expect(self) -> None:
        """Set coverage so that every cell is complete."""
        names = symbols(self.options.instruments)
        for timeframe in Timeframe:
            present = self.store.coverage.cells([timeframe], None, None, names[:1])
            cells = present.select("timeframe", "day", pl.col("present").alias("expected"))
            self.store.coverage.set_expected_alike(names, cells)

    def settle(self) -> None:
        """Gather statistics and visibility as autovacuum does, and flush everything to disk."""
        with self.store.connections.transaction() as connection:
            connection.commit()
            connection.autocommit = True
            connection.execute(sql.SQL("VACUUM (ANALYZE) market.coverage"))
            connection.execute(sql.SQL("VACUUM (FREEZE, ANALYZE) market.ohlc_data"))
            connection.execute("CHECKPOINT")
            connection.autocommit = False


def ready(folder: Path, options: argparse.Namespace) -> bool:
    """Whether the same call built the folder completely."""
    note = folder / "big_store.json"
    return note.exists() and json.loads(note.read_text())["options"] == _named(options)


def _named(options: argparse.Namespace) -> dict[str, object]:
    return {name: value for name, value in vars(options).items() if name != "folder"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--instruments", type=int, default=90)
    parser.add_argument("--days", type=int, default=300)
    parser.add_argument("--fine-days", type=int, default=20_000, help="days of 1m, 5m and 15m; default: all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if ready(options.folder, options):
        print(f"{options.folder} is there already")
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    server = EmbeddedServer(options.folder)
    server.prepare()
    began = time.monotonic()
    with server.running() as url:
        migrate(url)
        with Store(url) as store:
            builder = Builder(store, options)
            builder.build()
            builder.expect()
            builder.settle()
            size = store.size_bytes()
    took = time.monotonic() - began
    note = {
        "options": _named(options), "rows": builder.rows, "bytes": size, "seconds": round(took),
        "begin": builder.begin.isoformat(), "end": builder.end.isoformat(),
    }  # fmt: skip
    (options.folder / "big_store.json").write_text(json.dumps(note, indent=1))
    print(f"{builder.rows:,} rows, {size / 2**30:.1f} GiB, {took:.0f} s; {builder.begin:%Y-%m-%d} – {builder.end}")


if __name__ == "__main__":
    main()
