"""Recorded Binance and Bitfinex data through the replay exchange and the whole pipeline.

Guards I3 and I4 (docs/invariants.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline.market import BarOrigin, Timeframe, compare_bars, merge_spans
from crypto_pipeline.replay import running_exchange
from crypto_pipeline.store import Store
from crypto_pipeline_tests.healing.conftest import Bench
from crypto_pipeline_tests.realdata.conftest import read_bars

pytestmark = pytest.mark.realdata

BINANCE_2023 = ("ETH-USDT", "ATOM-USDT", "LINK-USDT", "ADA-BTC", "ALGO-BTC")
BINANCE_2021 = (
    "BTC-USDT", "ETH-USDT", "ADA-USDT", "XRP-USDT", "DOGE-USDT", "LINK-USDT", "LTC-USDT", "BCH-USDT",
    "ETH-BTC", "BRD-BTC", "NXS-BTC", "DASH-BTC", "LTC-BTC",
)  # fmt: skip
TIMEFRAMES = (Timeframe.M5, Timeframe.M15, Timeframe.M30, Timeframe.H1)


@contextmanager
def benched(folder: Path, url: str, now: datetime, days: int) -> Iterator[Bench]:
    with running_exchange(folder, now=now, weight_limit=0) as exchange, Store(url) as store:
        yield Bench(exchange, store, days=days, heal_backoff=0.001, heal_attempts=2)


def test_every_complete_window_of_2023_equals_the_venues_own_bar(recorded_data: Path, postgres_url: str) -> None:
    folder = recorded_data / "bars/binance_spot"
    with benched(folder, postgres_url, datetime(2023, 5, 2, tzinfo=UTC), 48) as bench:
        bench.collect(*BINANCE_2023)
        report = bench.run(lambda pipeline: pipeline.backfill(timeframes=[Timeframe.M1, *TIMEFRAMES]))
        assert not report.problems
        compared = 0
        for path in sorted(folder.glob("*-2023-*.parquet")):
            timeframe = Timeframe(path.stem.split("-")[1])
            if timeframe is Timeframe.M1:
                continue
            theirs = read_bars(path)
            symbol = theirs["instrument"][0]
            first, last = theirs["open_time"].min(), theirs["open_time"].max()
            ours = bench.store.reader.read([symbol], timeframe, first, last + timedelta(minutes=1))  # type: ignore[operator]
            minutes = pl.concat([read_bars(one) for one in folder.glob(f"{path.stem.split('-')[0]}-1m-2023-*.parquet")])
            complete = (
                minutes.group_by(timeframe.floor_expr())
                .len()
                .filter(pl.col("len") == timeframe.minutes)
                .select("open_time")
            )
            whole = theirs.join(complete, on="open_time", how="semi")
            made = ours.filter(pl.col("source") == str(BarOrigin.HISTORICAL_AGGREGATED))
            mine = made.join(whole, on="open_time", how="semi")
            assert mine.height == whole.height, (path.name, mine.height, whole.height)
            assert compare_bars(mine, whole, volume_rtol=1e-9).is_empty(), path.name
            compared += whole.height
        assert compared == 56_409


def test_reconciliation_told_nothing_finds_the_damaged_minutes_of_2021(recorded_data: Path, postgres_url: str) -> None:
    with benched(recorded_data / "bars/binance_spot", postgres_url, datetime(2021, 4, 30, tzinfo=UTC), 20) as bench:
        bench.collect(*BINANCE_2021)
        bench.run(lambda pipeline: pipeline.backfill(timeframes=[Timeframe.M1, Timeframe.M5]))
        start, end = datetime(2021, 4, 10, tzinfo=UTC), datetime(2021, 4, 30, tzinfo=UTC)
        report = bench.run(lambda pipeline: pipeline.reconcile(start, end, timeframes=[Timeframe.M5]))
        disputed = bench.store.reconciliations.open(timeframe=Timeframe.M5)
        assert report.disputed == disputed.height
        assert set(disputed["state"]) == {"disputed"}
        days = disputed.filter(pl.col("open_time").dt.date().cast(pl.String).is_in(["2021-04-22", "2021-04-23"]))
        elsewhere = disputed.join(days, on=["instrument", "open_time"], how="anti")
        # one window of a thin pair contradicts itself elsewhere; the recording's notes name it
        assert elsewhere.select("instrument", "open_time").rows() == [
            ("BRD-BTC", datetime(2021, 4, 12, 9, 45, tzinfo=UTC))
        ]
        assert disputed.height == 195
        assert set(days["instrument"]) == set(BINANCE_2021)


def test_the_outage_of_2021_is_explained_because_every_instrument_is_silent(
    recorded_data: Path, postgres_url: str
) -> None:
    with benched(recorded_data / "bars/binance_spot", postgres_url, datetime(2021, 4, 27, tzinfo=UTC), 3) as bench:
        bench.collect(*BINANCE_2021)
        bench.run(lambda pipeline: pipeline.backfill(timeframes=[Timeframe.M1, Timeframe.M5]))
        rows = bench.store.ledger.open(timeframe=Timeframe.M1)
        assert set(rows["state"]) == {"venue_outage"}
        assert set(rows["instrument"]) == set(BINANCE_2021)
        # the first minute of the outage is told apart: two instruments still traded in it
        outage = merge_spans(rows.select("instrument", "start", "end"))
        assert outage.height == len(BINANCE_2021)
        assert set(outage["end"]) == {datetime(2021, 4, 25, 8, 45, tzinfo=UTC)}
        assert set(outage["start"]) == {datetime(2021, 4, 25, 4, minute, tzinfo=UTC) for minute in (1, 2)}
        summary = bench.store.coverage.summary()
        assert summary.filter(pl.col("timeframe").is_in(["1m", "5m"]))["missing"].to_list() == [0, 0]
        windows = bench.store.ledger.open(timeframe=Timeframe.M5)
        assert set(windows["start"]) == {datetime(2021, 4, 25, 4, 5, tzinfo=UTC)}
        assert set(windows["end"]) == {datetime(2021, 4, 25, 8, 45, tzinfo=UTC)}


def test_minutes_without_trades_are_explained_as_such(recorded_data: Path, postgres_url: str) -> None:
    symbols = ("BTC-USD", "ETH-USD", "LTC-USD", "NEO-USD")
    with benched(recorded_data / "bars/bitfinex", postgres_url, datetime(2019, 3, 8, tzinfo=UTC), 4) as bench:
        bench.collect(*symbols)
        bench.run(lambda pipeline: pipeline.backfill(timeframes=[Timeframe.M1]))
        bench.run(lambda pipeline: pipeline.backfill(timeframes=[Timeframe.M1]))
        cells = bench.store.coverage.cells([Timeframe.M1], None, None)
        assert (cells["expected"] == cells["present"] + cells["explained"]).all()
        rows = bench.store.ledger.open(timeframe=Timeframe.M1)
        by_state = dict(rows.group_by("state").agg(pl.col("bars").sum()).iter_rows())
        assert by_state.get("no_trade", 0) > 0.95 * sum(by_state.values()), by_state
        explained = rows.filter(pl.col("instrument") == "NEO-USD")
        stored = bench.store.reader.read(
            ["NEO-USD"], Timeframe.M1, datetime(2019, 3, 4, tzinfo=UTC), datetime(2019, 3, 8, tzinfo=UTC)
        )
        assert stored.height + explained["bars"].sum() == 4 * 1440
