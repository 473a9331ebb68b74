"""A process to be killed: lets months and days leave the tables, puts them in order, brings them back, for ever."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from crypto_pipeline.market.retention import Kept, RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive import restore
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline.store.database.logs import quiet_drivers
from crypto_pipeline_tests.builders.databases import from_argument

#: March and its trades are due, April is not.
NOW = datetime(2025, 5, 3, 12, tzinfo=UTC)
MIN_BARS = 1000


def retention(store: Store, folder: Path) -> Retention:
    forever = Kept(None, None)
    bars = dict.fromkeys(Timeframe, forever) | {one: Kept(30, None) for one in (Timeframe.M1, Timeframe.H1)}
    policy = RetentionPolicy(bars, Kept(7, None), MIN_BARS)
    return Retention(store.connections, ArchiveStorage(str(folder / "archive")), folder / "scratch", policy)


def main(url: str, folder: Path) -> None:
    with Store(url) as store:
        at_work = retention(store, folder)
        print("ready", flush=True)
        while True:
            at_work.run(NOW, progress=lambda text: None)
            print("archived", flush=True)
            with at_work.exclusive():
                for file in store.archive.files(None):
                    together = [one for one in store.archive.files(None) if _span(one) == _span(file)]
                    if together:
                        restore.restore(store.connections, together, timedelta(0))
            at_work.compact(NOW, progress=lambda text: None)
            print("restored", flush=True)


def _span(file: object) -> tuple[object, ...]:
    return file.timeframe, file.first_open  # type: ignore[attr-defined]


if __name__ == "__main__":
    quiet_drivers()  # as programs of the product do: while PostgreSQL is away, its pool would complain line by line
    main(from_argument(sys.argv[1]), Path(sys.argv[2]))
