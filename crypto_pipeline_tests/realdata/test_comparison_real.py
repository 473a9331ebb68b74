"""Recorded Binance data of April 2021, whose 5m bars disagree with its 1m bars: found without being asked for.

Guards I3 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from crypto_pipeline.market import Timeframe, compare_bars
from crypto_pipeline.replay import running_exchange
from crypto_pipeline.store import Store
from crypto_pipeline_tests.healing.conftest import Bench
from crypto_pipeline_tests.realdata.conftest import read_bars

pytestmark = pytest.mark.realdata

END = datetime(2021, 4, 26, tzinfo=UTC)
DAYS = 4
SYMBOLS = ("BTC-USDT", "DASH-BTC")


def disagreeing(folder: Path, symbol: str) -> set[tuple[str, datetime]]:
    """5m windows with all five minutes recorded whose bar is not what those make, computed from the files alone."""
    pair = symbol.replace("-", "_")
    (fives,) = (read_bars(path) for path in folder.glob(f"{pair}-5m-2021-0*.parquet"))
    (minutes,) = (read_bars(path) for path in folder.glob(f"{pair}-1m-2021-0*.parquet"))
    traded = pl.col("volume") > 0
    made = (
        minutes.sort("open_time")
        .group_by(pl.col("open_time").dt.truncate("5m"))
        .agg(
            pl.len().alias("minutes"),
            pl.when(traded.any()).then(pl.col("high").filter(traded).max()).otherwise(pl.col("high").max()).alias("h"),
            pl.when(traded.any()).then(pl.col("low").filter(traded).min()).otherwise(pl.col("low").min()).alias("l"),
            pl.col("volume").sum().alias("v"),
        )
        .filter(pl.col("minutes") == 5)
    )
    both = fives.join(made, on="open_time").filter(pl.col("open_time").is_between(END - timedelta(DAYS), END, "left"))
    near = (pl.col("v") - pl.col("volume")).abs() <= 1e-9 * pl.max_horizontal("v", "volume")
    wrong = both.filter((pl.col("h") != pl.col("high")) | (pl.col("l") != pl.col("low")) | ~near)
    return {(symbol, moment) for moment in wrong["open_time"].to_list()}


def test_the_job_that_compares_finds_every_window_that_disagrees_and_no_other(
    recorded_data: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crypto_pipeline.definitions import defs

    folder = recorded_data / "bars/binance_spot"
    expected = set().union(*(disagreeing(folder, symbol) for symbol in SYMBOLS))
    assert len(expected) == 32
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    monkeypatch.setenv("CRYPTO_PIPELINE_DAYS", str(DAYS))
    with (
        running_exchange(folder, now=END + timedelta(hours=2), weight_limit=0) as exchange,
        Store(postgres_url) as store,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        monkeypatch.setenv("CRYPTO_PIPELINE_REPLAY_PORT", str(exchange.port))
        bench = Bench(exchange, store, days=DAYS)
        bench.collect(*SYMBOLS)
        bench.run(lambda pipeline: pipeline.backfill())
        run = defs().resolve_job_def("compare_with_venue").execute_in_process(instance=instance)
        assert run.success
        found = store.reconciliations.open()
        assert set(found["timeframe"]) == {str(Timeframe.M5)}
        assert set(found["state"]) == {"disputed"}
        assert set(found.select("instrument", "open_time").rows()) == expected
        (alert,) = store.checks.open_alerts().to_dicts()
        assert (alert["source"], alert["timeframe"]) == ("venue_agreement", "5m")
        assert "32 windows in dispute" in alert["summary"]


def test_wider_bars_from_before_the_first_minute_are_not_called_unlisted(
    recorded_data: Path, postgres_url: str
) -> None:
    """The recording of DASH-BTC has 5m bars since February and 1m bars since 2021-04-10 20:16."""
    first = datetime(2021, 4, 10, 20, 16, tzinfo=UTC)
    folder = recorded_data / "bars/binance_spot"
    with (
        running_exchange(folder, now=datetime(2021, 4, 11, 12, tzinfo=UTC), weight_limit=0) as exchange,
        Store(postgres_url) as store,
    ):
        bench = Bench(exchange, store, days=3)
        bench.collect("DASH-BTC")
        bench.run(lambda pipeline: pipeline.backfill(timeframes=[Timeframe.M1, Timeframe.M5]))
        ledger = store.ledger.open()
        assert ledger.filter(pl.col("timeframe") == "5m").is_empty()
        (unlisted,) = ledger.filter(pl.col("timeframe") == "1m").to_dicts()
        assert (unlisted["state"], unlisted["end"]) == ("not_listed", first)
        (path,) = folder.glob("DASH_BTC-5m-2021-0*.parquet")
        since = datetime(2021, 4, 8, tzinfo=UTC)
        ours = store.reader.read(["DASH-BTC"], Timeframe.M5, since, first + timedelta(minutes=30))
        theirs = read_bars(path).filter(pl.col("open_time").is_between(since, first + timedelta(minutes=30), "left"))
        # the window that holds the first minute is the venue's own as well: 1m lacks a part of it
        assert compare_bars(ours, theirs).is_empty()
        assert ours.height == theirs.height > 800
