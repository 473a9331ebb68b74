"""Windows of which minutes are absent here: never comparable with the venue's own bar, and no disagreement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from crypto_pipeline.market import Timeframe
from crypto_pipeline_tests.healing.conftest import Bench

START, END = datetime(2026, 11, 18, tzinfo=UTC), datetime(2026, 11, 19, tzinfo=UTC)
#: The recording of minutes ends in the middle of a window that its wider bars cover whole.
STOPS = END - timedelta(minutes=2)
WRONG = START + timedelta(hours=5)


def record(folder: Path, pair: str, seed: int) -> None:
    """A day of one pair, its 5m bars made of all minutes; one 5m bar contradicts them."""
    rng = np.random.default_rng(seed)
    count = (END - START) // timedelta(minutes=1)
    close = np.round(100 + np.cumsum(rng.normal(0, 0.1, count)), 2)
    first = np.concatenate([[100.0], close[:-1]])
    minutes = pl.DataFrame(
        {
            "ts_ms": int(START.timestamp() * 1000) + 60_000 * np.arange(count),
            "open": first,
            "high": np.maximum(first, close) + 0.05,
            "low": np.minimum(first, close) - 0.05,
            "close": close,
            "volume": rng.integers(1, 100, count) / 4,
        }
    )
    fives = minutes.group_by(pl.col("ts_ms") // 300_000 * 300_000, maintain_order=True).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
    )
    wrong = pl.col("ts_ms") == int(WRONG.timestamp() * 1000)
    fives = fives.with_columns(pl.when(wrong).then(pl.col("volume") + 1).otherwise(pl.col("volume")).alias("volume"))
    minutes.filter(pl.col("ts_ms") < int(STOPS.timestamp() * 1000)).write_parquet(folder / f"{pair}-1m-2026-11.parquet")
    fives.write_parquet(folder / f"{pair}-5m-2026-11.parquet")


def test_a_window_with_absent_minutes_is_never_comparable(make_bench: Callable[..., Bench], tmp_path: Path) -> None:
    names = ["BTC-USDT", "ETH-USDT", "SOL-USDT"]
    for seed, name in enumerate(names):
        record(tmp_path, name.replace("-", "_"), seed)
    now = END + timedelta(hours=26)
    bench = make_bench(source=tmp_path, now=now, settings={"days": 3, "heal_attempts": 1})
    bench.collect(*names)
    bench.run(lambda pipeline: pipeline.backfill())
    last = bench.store.reader.read(names, Timeframe.M5, END - timedelta(minutes=5), END)
    absent = bench.store.ledger.open(timeframe=Timeframe.M1, instruments=names, start=STOPS, end=END)
    assert set(absent["state"]) <= {"venue_outage", "unfillable", "delisted"}
    assert last.height == 3

    report = bench.run(lambda pipeline: pipeline.compare_due(60))
    found = bench.store.reconciliations.open()
    assert found.select("instrument", "timeframe", "open_time").rows() == [(name, "5m", WRONG) for name in names]
    assert report.incomparable == 3 * 6, "that of every width"
    agreement = bench.run(_agreement)
    assert agreement.incomparable == 3
    assert "3 never comparable" in agreement.sentence()


async def _agreement(pipeline: object) -> object:
    return pipeline.agreements(await pipeline.horizon(), [Timeframe.M5])[Timeframe.M5]  # type: ignore[attr-defined]
