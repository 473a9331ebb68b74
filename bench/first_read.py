"""Cost of the first ``bars()`` of a new process, compared with another version or with the libraries alone.

    python bench/first_read.py [--before PYTHON] [--rounds 8]

An embedded server with 100 bars is started in a temporary folder. Each round starts one interpreter for each way, in
turn; printed are the shortest wall and processor times. ``--before`` is the interpreter of another version's
environment.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from common import machine, table

from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.instruments import Instrument, Tier
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import EmbeddedServer, Store, migrate

READ = "import crypto_pipeline; assert crypto_pipeline.bars('BTC-USDT', '1m', last=60).height == 60"
LIBRARIES = "import numpy, polars, psycopg"


def fill(url: str) -> None:
    migrate(url)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    times = [now - timedelta(minutes=minute) for minute in range(100)]
    values = {"instrument": "BTC-USDT", "source": "venue_historical", "complete": True, "revision": now}
    prices = dict.fromkeys(("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume"), 1.0)
    frame = pl.DataFrame([{**values, **prices, "trade_count": 1, "open_time": at} for at in times])
    with Store(url) as store:
        store.instruments.add([Instrument.crypto("BTC-USDT", Tier.LARGE)])
        store.bars.write(frame.select(pl.col(name).cast(dtype) for name, dtype in BAR_SCHEMA.items()), Timeframe.M1)


def run(python: str, code: str, url: str) -> tuple[float, float]:
    """Wall and processor seconds of one interpreter."""
    used, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "CRYPTO_PIPELINE_DATABASE_URL": url}
    subprocess.run([python, "-W", "ignore", "-c", code], check=True, env=environment, cwd="/")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return time.perf_counter() - began, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="interpreter of another version's environment")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    ways = {"first bars()": (sys.executable, READ), "the libraries alone": (sys.executable, LIBRARIES)}
    if options.before:
        ways["first bars(), before"] = (options.before, READ)
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder)).running() as url:
        fill(url)
        for _ in range(options.rounds):
            for name, (python, code) in ways.items():
                took[name].append(run(python, code, url))
    print(f"{machine()}\n")
    lines = [[name, *(f"{min(values):.2f}" for values in zip(*each, strict=True))] for name, each in took.items()]
    table(["", "wall s", "processor s"], lines)


if __name__ == "__main__":
    main()
