"""Refresh of the materialized views of a store of 51 million bars in three ways, while readers work.

    python bench/big_store.py FOLDER && python bench/views.py FOLDER [--repeat 3]

The last bars of the store are a few hours old: those hours are filled with the ones of the day before, so that the
views have the rows of whole spans. Works on a copy where the folder is shared.

Plain REFRESH (locks readers out), REFRESH … CONCURRENTLY, and ours: rebuilt beside and renamed. Two readers query one
instrument's day (and count the view) without pause; their longest wait is what a person at a dashboard would feel.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from common import MIB, machine, table

from crypto_pipeline.store import EmbeddedServer, Store, migrate
from crypto_pipeline.store.views import views as room
from crypto_pipeline.store.views.views import BAR_VIEWS, VIEWS
from crypto_pipeline_tests.builders.background import Background

WAYS = ("swap", "concurrently", "plain")


class Readers(Background):
    """Two connections that read a view all the time."""

    def __init__(self, url: str, view: str) -> None:
        symbol = f"SELECT symbol FROM market.{view} ORDER BY symbol OFFSET 40 LIMIT 1"
        with psycopg.connect(url) as connection:
            found = connection.execute(symbol).fetchone()
        one = f"SELECT * FROM market.{view} WHERE symbol = '{found[0] if found else ''}'"
        if view in BAR_VIEWS:
            one += " AND timeframe = '15m'"
        self.waits: dict[str, list[float]] = {"one": [], "count": []}
        queries = {"one": one, "count": f"SELECT count(*) FROM market.{view}"}
        super().__init__(partial(self._read, url, *item) for item in queries.items())

    def _read(self, url: str, name: str, query: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not self.stopping.is_set():
                began = time.perf_counter()
                connection.execute(query).fetchall()
                self.waits[name].append(time.perf_counter() - began)
                self.stopping.wait(0.02)


def ways(store: Store) -> dict[str, Callable[[str], Any]]:
    def plain(name: str) -> None:
        store.connections.run(lambda c: c.execute(f"REFRESH MATERIALIZED VIEW market.{name}") and None)

    def concurrently(name: str) -> None:
        store.connections.run(lambda c: room._compare(c, name, time.monotonic(), ""))

    def swap(name: str) -> float:
        done = store.views.refresh(name)
        assert done.method == "swap"
        return done.seconds

    return {"swap": swap, "concurrently": concurrently, "plain": plain}


def measure(store: Store, view: str, repeat: int, chosen: str) -> list[list[Any]]:
    found = []
    for way, refresh in ways(store).items():
        if way not in chosen.split(","):
            continue
        alone, beside, seen, worst, median = [], [], [], 0.0, 0.0
        for _ in range(repeat):
            began = time.perf_counter()
            refresh(view)
            alone.append(time.perf_counter() - began)
        with Readers(store.url, view) as readers:
            time.sleep(0.2)
            for _ in range(repeat):
                began = time.perf_counter()
                seen.append(refresh(view))
                beside.append(time.perf_counter() - began)
        worst = max(max(waits) for waits in readers.waits.values())
        median = statistics.median(readers.waits["one"])
        visible = [seconds for seconds in seen if seconds is not None]
        found.append(
            [view, way, f"{min(alone):.2f}", f"{statistics.median(alone):.2f}", f"{statistics.median(beside):.2f}",
             f"{statistics.median(visible):.2f}" if visible else "", f"{median * 1e3:.1f}",
             f"{max(readers.waits['one']) * 1e3:,.0f}", f"{worst * 1e3:,.0f}"]
        )  # fmt: skip
        print(*found[-1], flush=True)
    return found


def fill_to_now(store: Store) -> None:
    """The hours since the store was built, as they were the day before."""

    def fill(connection: psycopg.Connection[Any]) -> None:
        found = connection.execute(
            "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute "
            "WHERE attrelid = 'market.ohlc_data'::regclass AND attnum > 0 AND NOT attisdropped"
        ).fetchone()
        columns = found[0] if found else ""
        shifted = columns.replace("open_time", "open_time + interval '1 day'")
        connection.execute(
            f"INSERT INTO market.ohlc_data ({columns}) SELECT {shifted} FROM market.ohlc_data "
            "WHERE open_time > now() - interval '2 days' AND timeframe NOT IN ('1d', '1w') "
            "AND open_time + interval '1 day' <= now() ON CONFLICT DO NOTHING"
        )

    store.connections.run(fill)
    store.storage.analyze()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--ways", default=",".join(WAYS), help="some of swap, concurrently, plain")
    parser.add_argument("--views", default=",".join(VIEWS), help="some of the views")
    options = parser.parse_args()
    with EmbeddedServer(options.folder).running() as url, Store(url) as store:
        migrate(url)
        fill_to_now(store)
        print(machine())
        rows = store.connections.frame(
            "SELECT sum(greatest(reltuples, 0))::bigint AS rows FROM pg_class WHERE relname LIKE 'ohlc\\_%' "
            "AND relkind = 'r' AND relnamespace = 'market'::regnamespace"
        )
        print(f"\n{rows['rows'][0]:,} bars\n")
        measured = [
            line for view in options.views.split(",") for line in measure(store, view, options.repeat, options.ways)
        ]
        head = ["view", "way", "alone s: best", "median", "with readers s", "until it is seen s",
                "one series: median ms", "longest ms", "any reader, longest ms"]  # fmt: skip
        table(head, measured)
        for view in VIEWS:
            store.views.refresh(view)
        print()
        proofs = []
        for view in VIEWS:
            began = time.perf_counter()
            wrong = store.views.differences(view).height
            proofs.append([view, wrong, f"{time.perf_counter() - began:.2f}"])
        state = store.views.state().select("name", "rows", "bytes").rows()
        sizes = {name: (f"{count:,}", f"{size / MIB:,.0f}") for name, count, size in state}
        table(["view", "differences", "comparison s", "rows", "MiB"], [[*row, *sizes[row[0]]] for row in proofs])


if __name__ == "__main__":
    main()
