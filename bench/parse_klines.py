"""Speed of parsing Binance's bodies to bars on one core: JSON pages (plain and gzip) and archive CSV.

Run: python bench/parse_klines.py [--repeat 7]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import msgspec
import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues.binance import parse
from crypto_pipeline.venues.binance.archive import read_csv

NOW = datetime(2026, 11, 21, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)
INSTRUMENT = "BTC-USDT"
SPAN = (int(START.timestamp() * 1000), int(NOW.timestamp() * 1000))


def rows(count: int) -> list[list[object]]:
    draw = random.Random(1)
    begin = int(START.timestamp() * 1000)

    def number(high: float) -> str:
        return f"{draw.uniform(0, high):.8f}"

    return [
        [begin + n * 60_000, *(number(1e5) for _ in range(4)), number(100), begin + n * 60_000 + 59_999,
         number(1e7), draw.randint(1, 5000), number(50), number(5e6), "0"]
        for n in range(count)
    ]  # fmt: skip


def page(body: bytes) -> pl.DataFrame:
    rows, _ = parse.parse_klines(body)
    return parse.frame_of_klines(rows, INSTRUMENT, Timeframe.M1, NOW, SPAN)[0]


def through_text_columns(body: bytes) -> pl.DataFrame:
    """The alternative: decode to strings, and let Polars parse the numbers."""
    columns = list(zip(*msgspec.json.decode(body), strict=True))
    return pl.DataFrame({str(n): columns[n] for n in range(12)}).with_columns(
        pl.col(pl.String).cast(pl.Float64), pl.lit(INSTRUMENT).alias("instrument")
    )


def median_rate(bars: int, work: Callable[[], object], repeat: int, inner: int) -> float:
    times = []
    work()
    for _ in range(repeat):
        begun = time.perf_counter()
        for _ in range(inner):
            work()
        times.append((time.perf_counter() - begun) / inner)
    return bars / statistics.median(times)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeat", type=int, default=7)
    repeat = arguments.parse_args().repeat
    body = json.dumps(rows(1000), separators=(",", ":")).encode()
    packed = zlib.compress(body)
    month = rows(44_640)
    text = "".join(",".join(map(str, row)) + "\n" for row in month).encode()
    results = {
        "REST page of 1000, plain": median_rate(1000, lambda: page(body), repeat, 100),
        "REST page of 1000, deflated": median_rate(1000, lambda: page(zlib.decompress(packed)), repeat, 100),
        "REST page through string columns": median_rate(1000, lambda: through_text_columns(body), repeat, 100),
        "archive CSV of a month": median_rate(
            44_640, lambda: parse.frame_of_csv(read_csv(text), INSTRUMENT, Timeframe.M1, NOW), repeat, 3
        ),
    }
    print(f"Python {platform.python_version()}, polars {pl.__version__}, msgspec {msgspec.__version__}; one thread")
    for name, rate in results.items():
        print(f"| {name} | {rate:,.0f} bars/s |")


if __name__ == "__main__":
    main()
