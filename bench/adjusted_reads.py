"""How long reads of daily bars take that are adjusted for splits and dividends, beside the same reads as stored.

    python bench/adjusted_reads.py [--stocks 500] [--years 10] [--count 40]

Goals: ten years of daily bars of one stock in 10 ms, of 500 stocks in 1.5 s. Each stock has four dividends a year and a
split every five years. The kinds of reads alternate.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from statistics import median

import numpy as np
import polars as pl
from common import database, machine, postgres, table

from crypto_pipeline import Reader
from crypto_pipeline.market.bars import as_bars
from crypto_pipeline.market.corporate_actions import actions
from crypto_pipeline.market.corporate_actions.actions import CorporateAction
from crypto_pipeline.market.instruments import AssetClass, Instrument, Tier
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

END = date(2026, 1, 1)
NEW_YORK = "America/New_York"


def weekdays(years: int) -> list[date]:
    first = date(END.year - years, 1, 1)
    return [day for n in range((END - first).days) if (day := first + timedelta(days=n)).weekday() < 5]


def bars(name: str, days: list[date], rng: np.random.Generator) -> pl.DataFrame:
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, len(days))))
    return as_bars(
        pl.DataFrame({"open_time": days, "open": closes, "close": closes, "volume": rng.integers(1, 10**6, len(days))})
        .with_columns(
            pl.lit(name).alias("instrument"), (pl.col("close") * 1.01).alias("high"),
            (pl.col("close") * 0.99).alias("low"), pl.col("open_time").cast(pl.Datetime("ms", "UTC")),
            pl.lit("venue_historical").alias("source"), pl.lit(True).alias("complete"),
        )
        .with_columns((pl.col("open_time") + timedelta(days=1)).alias("revision"))
    )  # fmt: skip


def events(name: str, days: list[date]) -> list[CorporateAction]:
    seen = datetime(2026, 1, 1, tzinfo=UTC)
    paid = [actions.dividend(name, day, NEW_YORK, 0.5, "USD", seen_at=seen) for day in days[60::63]]
    split = [actions.split(name, day, NEW_YORK, 1, 4, seen_at=seen) for day in days[600::1260]]
    return [*paid, *split]


def milliseconds(work: Callable[[], pl.DataFrame]) -> tuple[float, int]:
    begin = time.perf_counter()
    rows = work().height
    return (time.perf_counter() - begin) * 1000, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stocks", type=int, default=500)
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--count", type=int, default=40)
    chosen = parser.parse_args()
    names, days = [f"S{n:03d}" for n in range(chosen.stocks)], weekdays(chosen.years)
    rng = np.random.default_rng(1)
    with postgres() as server, database(server, "adjusted") as url:
        with Store(url) as store:
            store.instruments.add(
                Instrument(symbol=name, asset_class=AssetClass.STOCK, base=name, quote="USD", tier=Tier.STOCK)
                for name in names
            )
            for place in range(0, len(names), 50):
                store.bars.write(pl.concat([bars(name, days, rng) for name in names[place : place + 50]]), Timeframe.D1)
            for name in names:
                store.corporate_actions.record(events(name, days), "massive", seen_at=datetime(2026, 1, 1, tzinfo=UTC))
            store.connections.run(lambda connection: connection.execute("ANALYZE") and None)
        print(machine())
        with Reader(url) as reader:
            rows = []
            for what, several, count in (("one stock", names[:1], chosen.count), ("all stocks", names, 8)):
                taken: dict[str, list[float]] = {}
                for _ in range(count + 2):
                    for adjust in ("none", "splits", "all"):
                        took, found = milliseconds(
                            lambda adjust=adjust, several=several: reader.bars(
                                several, "1d", days[0], END, adjust=adjust
                            )
                        )
                        taken.setdefault(adjust, []).append(took)
                for adjust, times in taken.items():
                    times = sorted(times[2:])
                    rows.append((what, f"{found:,}", adjust, f"{median(times):.1f}", f"{times[-1]:.1f}"))
            table(("10 years of daily bars", "rows", "adjust", "median, ms", "most, ms"), rows)


if __name__ == "__main__":
    main()
