"""Scans: every strategy on the bar that closed, for all instruments; a span of the past; what they take on disk.

    python bench/scans.py [--instruments 90] [--days 36] [--bars 30] [--span 180]

"A closed bar" is what ingest does after the features: looks how far scans are, reads the bars that they rest on,
judges every condition of every strategy, commits the rows, durably. "A span" scans ``--span`` days in memory. The
bytes of a day are those of its table with its indexes.
"""

from __future__ import annotations

import time
from datetime import timedelta

import numpy as np
import polars as pl
from common import database, load, machine, numbers, postgres, table

from crypto_pipeline.arrays.grid import COLUMNS
from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.labels.strategies.base import TIMEFRAME
from crypto_pipeline.market import Instrument, Timeframe, roll_up_all
from crypto_pipeline.market.instruments import Tier
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.trading.stored.scans import ScanPass, scan_weeks, traded_parameters
from crypto_pipeline.trading.stored.scans.inputs import ScanBars
from crypto_pipeline_tests.builders.label_market import START, minutes

_TIERS = list(Tier)[:3]
SETTINGS = Settings()


def bars_of(number: int, days: int) -> tuple[str, dict[Timeframe, pl.DataFrame]]:
    """Name and rolled-up bars of one instrument."""
    name = "BTC-USDT" if number == 0 else f"COIN{number:02d}-USDT"
    return name, roll_up_all(minutes(name, days, number), (Timeframe.M15, Timeframe.H1, Timeframe.H4))


def live(count: int, days: int, bars: int) -> None:
    end = START + timedelta(days=days)
    with postgres() as server, database(server, "scans") as url, Store(url) as store:
        for number in range(count):
            name, rolled = bars_of(number, days)
            store.instruments.add([Instrument.crypto(name, _TIERS[number % 3])])
            for timeframe, frame in rolled.items():
                store.bars.write(frame, timeframe)
        dates = pl.date_range(START, end, closed="left", eager=True)
        names = [row.instrument.symbol for row in store.instruments.list()]
        store.coverage.set_expected_alike(names, pl.DataFrame({"day": dates, "timeframe": "15m", "expected": 96}))
        store.clock.learn("replay", end)
        store.connections.run(lambda connection: connection.execute("ANALYZE") and None)
        first = end - bars * TIMEFRAME.delta
        scanner = ScanPass(SETTINGS)
        before, began = store.size_bytes(), time.perf_counter()
        report = scanner.run(store, first)
        took = time.perf_counter() - began
        print(f"first pass: {report.scans:,} scans of {days} days in {took:.1f} s, load {load()}")
        store.connections.run(lambda connection: connection.execute("CHECKPOINT") and None)
        print(f"database: +{(store.size_bytes() - before) / 2**20:.1f} MiB")
        each = []
        for bar in range(bars):
            began = time.perf_counter()
            step = scanner.run(store, first + (bar + 1) * TIMEFRAME.delta)
            each.append((time.perf_counter() - began) * 1000)
            assert step.scans == count * 3
        rows = [(f"{np.median(each):.0f}", f"{np.percentile(each, 90):.0f}", f"{max(each):.0f}", load())]
        print(f"\n{count * 3} scans of a closed bar, {bars} bars, ms\n")
        table(("median", "p90", "worst", "load"), rows)
        size = store.connections.rows(
            "SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid "
            "WHERE h.inhparent = 'trading.scan_history'::regclass ORDER BY 1"
        )
        name, whole = size[len(size) // 2]
        print(f"\n{name}: {whole / 2**20:.2f} MiB with indexes; a day of {count * 3 * 96:,} scans")


def span(count: int, days: int) -> None:
    end = START + timedelta(days=days)
    parts: dict[Timeframe, list[pl.DataFrame]] = {Timeframe.M15: [], Timeframe.H1: []}
    tiers = {}
    for number in range(count):
        name, rolled = bars_of(number, days)
        tiers[name] = str(_TIERS[number % 3])
        for timeframe, frames in parts.items():
            frames.append(rolled[timeframe].select("instrument", "open_time", *COLUMNS))
    panels = {one: Panel.from_bars(pl.concat(frames), list(tiers), START, end, one) for one, frames in parts.items()}
    panel = panels[Timeframe.M15]
    bars = ScanBars(tiers, panel, panels[Timeframe.H1], panel.close[0], np.zeros(panel.width))
    sets = traded_parameters(SETTINGS)
    began = time.perf_counter()
    found = scan_weeks(bars, sets, START + timedelta(days=5), end)
    took = time.perf_counter() - began
    print(f"\nspan of {days} days: {found.height:,} scans in {took:.1f} s, {took / found.height * 1e6:.1f} µs each")
    print(f"load {load()}; {dict(found.group_by('decision').len().iter_rows())}")


def main() -> None:
    options = numbers(__doc__, instruments=90, days=36, bars=30, span=180).parse_args()
    print(f"{machine()}\n")
    live(options.instruments, options.days, options.bars)
    span(options.instruments, options.span)


if __name__ == "__main__":
    main()
