"""Back up a store while it is read and written, read the backup back, restore it and compare it with the original.

    python bench/big_store.py FOLDER --fine-days 20 && python bench/backup.py FOLDER [--writers 2]

Writers change its rows: use a folder of its own. Needs room for the backup and for the restored store.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from common import MIB, machine, table

from crypto_pipeline.market import Timeframe
from crypto_pipeline.market.bars import BAR_SCHEMA, UTC_MS
from crypto_pipeline.ops.backups import backup
from crypto_pipeline.ops.backups.restore import restore
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import EmbeddedServer, Store, migrate
from crypto_pipeline_tests.builders.background import Background


class Writers(Background):
    """Threads that revise the newest hours of some instruments without pause."""

    def __init__(self, store: Store, count: int) -> None:
        self.rows, self._store = 0, store
        self._names = [row.instrument.symbol for row in store.instruments.list()]
        super().__init__(partial(self._write, number) for number in range(count))

    def _write(self, number: int) -> None:
        generator = np.random.default_rng(number)
        while not self.stopping.is_set():
            frame = bars(self._names[number::8], generator)
            done = self._store.bars.write(frame, Timeframe.M1)
            self.rows += done.inserted + done.superseded


def bars(names: list[str], generator: np.random.Generator, minutes: int = 120) -> pl.DataFrame:
    first = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=minutes)
    times = [first + timedelta(minutes=minute) for minute in range(minutes)] * len(names)
    price = 100 + generator.random(len(times))
    return pl.DataFrame(
        {
            "instrument": np.repeat(names, minutes),
            "open_time": pl.Series(times).cast(UTC_MS),
            "open": price,
            "high": price + 1,
            "low": price - 1,
            "close": price,
            "volume": price,
            "quote_volume": price,
            "taker_buy_volume": price / 2,
            "trade_count": [1] * len(times),
            "source": ["venue_historical"] * len(times),
            "complete": [True] * len(times),
            "revision": pl.Series([datetime.now(UTC)] * len(times)).cast(UTC_MS),
        }
    ).select(pl.col(name).cast(dtype) for name, dtype in BAR_SCHEMA.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--writers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="cp-bench-", dir=options.work) as work:
        Path(work).chmod(0o755)
        settings = load_settings(data_dir=options.folder, backup_dir=Path(work) / "backups")
        rows = []
        with EmbeddedServer(options.folder).running() as url, Store(url) as store:
            migrate(url)
            size = store.size_bytes()
            began = time.perf_counter()
            with Writers(store, options.writers) as writers:
                made = backup.make(settings, url, size, print)
            whole = time.perf_counter() - began
        rows.append(["dump, count and hash", f"{made.manifest.seconds:.0f}", f"{made.manifest.bytes / MIB:,.0f} MiB"])
        rows.append(["with reading back", f"{whole:.0f}", f"{writers.rows:,} rows written meanwhile"])
        began = time.perf_counter()
        target = load_settings(data_dir=Path(work) / "restored")
        restore(target, made, print)
        rows.append(["restore, proven", f"{time.perf_counter() - began:.0f}", f"{made.manifest.rows:,} rows"])
        with EmbeddedServer(target.data_dir).running() as url, Store(url) as copy:
            wrong = sum(copy.views.differences(view).height for view in ("ohlc_today", "ohlc_recent"))
            rows.append(["false rows in the restored views", str(wrong), f"{copy.size_bytes() / MIB:,.0f} MiB"])
    print(f"\n{size / MIB:,.0f} MiB of database\n")
    table(["step", "s", ""], rows)


if __name__ == "__main__":
    main()
