"""Gaps of the newest days: each is found wherever it is, and just it is filled, from stored trades if they prove it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from crypto_pipeline.healing import HealReport, Pipeline
from crypto_pipeline.healing.live_gaps import fill_gaps, find_gaps
from crypto_pipeline.healing.processors import measured, record_idle_pass
from crypto_pipeline.market import BarOrigin, Timeframe
from crypto_pipeline_tests.healing.conftest import NOW, Bench

WEEK = timedelta(days=7)
VALUES = ["open_time", "open", "high", "low", "close", "trade_count"]
SEVEN = NOW.replace(hour=7, minute=0, second=0)
MINUTE = timedelta(minutes=1)
#: Begin of what is kept.
FIRST = Timeframe.D1.floor(NOW) - timedelta(days=1)


def hidden(start: datetime, end: datetime, **more: Any) -> dict[str, Any]:
    return {"kind": "missing_range", "symbol": "BTC-USDT", "start": start.isoformat(), "end": end.isoformat(), **more}


def backfilled(make_bench: Callable[..., Bench], *faults: dict[str, Any], **settings: Any) -> Bench:
    """A bench on which everything is stored but what the faults have hidden, which the venue shows by now."""
    bench = make_bench(
        instruments="BTCUSDT,ETHUSDT", faults=list(faults), settings={"request_attempts": 1, "days": 1, **settings}
    )
    bench.collect("BTC-USDT", "ETH-USDT")
    bench.run(lambda pipeline: pipeline.backfill())
    bench.exchange.clear_faults()
    return bench


def find(bench: Bench) -> pl.DataFrame:
    return bench.run(lambda pipeline: find_gaps(pipeline, WEEK))


def minutes(gaps: pl.DataFrame) -> list[tuple[str, datetime, datetime]]:
    return gaps.filter(pl.col("timeframe") == "1m").select("instrument", "start", "end").rows()


def fill(bench: Bench) -> HealReport:
    async def work(pipeline: Pipeline) -> HealReport:
        return await fill_gaps(pipeline, await find_gaps(pipeline, WEEK))

    return bench.run(work)


def read(bench: Bench, symbol: str = "BTC-USDT", timeframe: Timeframe = Timeframe.M1) -> pl.DataFrame:
    return bench.store.reader.read([symbol], timeframe, FIRST, timeframe.floor(NOW))


def tape(bench: Bench, timeframe: Timeframe = Timeframe.M1) -> pl.DataFrame:
    return bench.exchange.market.bars("BTCUSDT", timeframe, FIRST, timeframe.floor(NOW))


def keep_trades(bench: Bench, start: datetime, end: datetime, without: int = 0) -> None:
    """Store the exchange's trades, as ingest would have; ``without`` leaves out the one at that place."""
    trades = bench.exchange.tape.trades("BTC-USDT", start, end)
    if without:
        trades = trades.filter(pl.int_range(pl.len()) != without)
    bench.store.trades.write("replay", trades)


def lose(bench: Bench, starts: list[datetime]) -> None:
    """Take single minutes out of the table, as a loss that nobody wrote down."""

    def work(connection: Any) -> None:
        gone = connection.execute(
            "DELETE FROM market.ohlc_data o USING market.instruments i WHERE i.instrument_id = o.instrument_id "
            "AND i.symbol = 'BTC-USDT' AND o.timeframe = '1m' AND o.open_time = ANY(%s)",
            [starts],
        ).rowcount
        assert gone == len(starts)
        connection.execute(
            "UPDATE market.coverage c SET final = false, data_version = nextval('market.data_version'), present = ("
            "SELECT count(*) FROM market.ohlc_data o WHERE o.instrument_id = c.instrument_id AND o.timeframe = '1m' "
            "AND (o.open_time AT TIME ZONE 'UTC')::date = c.day) WHERE c.timeframe = '1m'"
        )

    bench.store.connections.run(work)


def test_a_gap_amid_whole_days_is_found_and_nothing_but_it_is_filled(make_bench: Callable[..., Bench]) -> None:
    """The faults of systems that skip what is covered by 80 %, look only after the newest bar, or fill the newest."""
    gap = SEVEN, SEVEN + 3 * MINUTE
    bench = backfilled(make_bench, hidden(*gap))
    assert minutes(find(bench)) == [("BTC-USDT", *gap)]
    before = read(bench)
    report = fill(bench)
    assert report.of(Timeframe.M1).fetched == 3
    assert (report.of(Timeframe.M1).gaps, report.of(Timeframe.M1).gaps_filled) == (1, 1)
    after = read(bench)
    new = after.join(before, on="open_time", how="anti")
    assert set(new["source"]) == {str(BarOrigin.LIVE_GAP_FILLED)}
    assert after.join(new, on="open_time", how="anti").equals(before), "what was there is untouched"
    for timeframe in (Timeframe.M1, Timeframe.M5, Timeframe.H1):
        assert read(bench, timeframe=timeframe).select(VALUES).equals(tape(bench, timeframe).select(VALUES))
    assert find(bench).is_empty()


def test_every_gap_is_filled_however_many(make_bench: Callable[..., Bench]) -> None:
    starts = [SEVEN + 5 * n * MINUTE for n in range(-90, 30)]
    bench = backfilled(make_bench)
    lose(bench, starts)
    assert [start for _, start, _ in minutes(find(bench))] == starts
    report = fill(bench)
    assert (report.of(Timeframe.M1).gaps, report.of(Timeframe.M1).gaps_filled) == (120, 120)
    assert find(bench).is_empty()
    assert read(bench).select(VALUES).equals(tape(bench).select(VALUES))


def test_stored_trades_fill_a_gap_although_the_venue_is_down(make_bench: Callable[..., Bench]) -> None:
    gap = SEVEN, SEVEN + 20 * MINUTE
    bench = backfilled(make_bench, hidden(*gap))
    keep_trades(bench, gap[0] - 2 * MINUTE, gap[1] + 2 * MINUTE)
    bench.exchange.control({"kind": "outage", "manner": "refuse"})
    report = fill(bench)
    filled = read(bench).filter(pl.col("source") == str(BarOrigin.LIVE_GAP_FILLED))
    true = tape(bench).filter(pl.col("open_time").is_between(*gap, closed="left"))
    traded = true.filter(pl.col("volume") > 0)
    assert filled.select(VALUES).equals(traded.select(VALUES))
    assert (filled["volume"] - traded["volume"]).abs().max() < 1e-9  # type: ignore[operator]
    assert report.of(Timeframe.M1).rebuilt_from_trades == traded.height > 10
    bench.exchange.clear_faults()
    assert fill(bench).of(Timeframe.M1).fetched == true.height - traded.height
    assert find(bench).is_empty()


def test_a_minute_that_lacks_a_trade_is_left_to_the_venue(make_bench: Callable[..., Bench]) -> None:
    gap = SEVEN, SEVEN + 5 * MINUTE
    bench = backfilled(make_bench, hidden(*gap))
    trades = bench.exchange.tape.trades("BTC-USDT", *gap)
    keep_trades(bench, *gap, without=trades.height // 2)
    broken = Timeframe.M1.floor(trades["time"][trades.height // 2])
    report = fill(bench)
    # the first and the last minute have no neighbour stored: nothing proves their edges
    left = {broken, gap[0], gap[1] - MINUTE}
    assert 0 < report.of(Timeframe.M1).rebuilt_from_trades <= 5 - len(left)
    assert read(bench).select(VALUES).equals(tape(bench).select(VALUES))


def test_a_minute_whose_individual_trades_overlap_or_jump_is_left_to_the_venue(
    make_bench: Callable[..., Bench],
) -> None:
    """The ids of the aggregates run on; what they sum does not."""
    gap = SEVEN, SEVEN + 30 * MINUTE
    bench = backfilled(make_bench, hidden(*gap))
    trades = bench.exchange.tape.trades("BTC-USDT", gap[0] - 5 * MINUTE, gap[1] + 5 * MINUTE)
    # one sums once more what the one before it sums; from another on the individual ids jump
    repeated, jump = trades.height // 3, 2 * trades.height // 3
    place = pl.int_range(pl.len())
    odd = trades.with_columns(
        pl.when(place == repeated).then(pl.col(name).shift(1)).when(place >= jump).then(pl.col(name) + 5)
        .otherwise(pl.col(name)).alias(name)
        for name in ("first_id", "last_id")
    )  # fmt: skip
    beside = trades["time"].dt.truncate("1m")[[repeated - 1, repeated, repeated + 1, jump - 1, jump]]
    bench.store.trades.write("replay", odd)
    report = fill(bench)
    true = tape(bench).filter(pl.col("open_time").is_between(*gap, closed="left"))
    proven = true.filter((pl.col("volume") > 0) & ~pl.col("open_time").is_in(beside.implode()))
    assert report.of(Timeframe.M1).rebuilt_from_trades == proven.height > 5
    assert report.of(Timeframe.M1).fetched == true.height - proven.height
    assert read(bench).select(VALUES).equals(tape(bench).select(VALUES))


def test_history_that_was_never_collected_is_no_gap(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(instruments="BTCUSDT,ETHUSDT", settings={"days": 2})
    bench.collect("BTC-USDT", "ETH-USDT")
    everything = find(bench)
    assert set(everything["instrument"]) == {"BTC-USDT", "ETH-USDT"}
    gaps = bench.run(lambda pipeline: find_gaps(pipeline, WEEK, collecting=["BTC-USDT"]))
    assert set(gaps["instrument"]) == {"ETH-USDT"}
    only = bench.run(lambda pipeline: find_gaps(pipeline, timedelta(hours=1), ["ETH-USDT"]))
    assert only["start"].min() >= NOW - timedelta(hours=1) - Timeframe.W1.delta  # type: ignore[operator]
    assert set(only["instrument"]) == {"ETH-USDT"}


@pytest.mark.parametrize("works", [True, False])
def test_a_processor_says_what_it_did(make_bench: Callable[..., Bench], works: bool) -> None:
    bench = backfilled(make_bench)
    lose(bench, [SEVEN, SEVEN + MINUTE, SEVEN + 9 * MINUTE])
    if not works:
        bench.exchange.control({"kind": "outage", "manner": "refuse"})

    async def work(pipeline: Pipeline) -> HealReport:
        async def gaps() -> HealReport:
            return await fill_gaps(pipeline, await find_gaps(pipeline, WEEK))

        return await measured(pipeline.store, "live_gap_monitor", gaps)

    bench.run(work)
    # runs are of our own clock, whatever the venue's shows
    record_idle_pass(bench.store, "live_gap_monitor", datetime.now(NOW.tzinfo), 0.1)
    rows = bench.store.metrics.summary(datetime.now(NOW.tzinfo) - WEEK)
    row = rows.filter(pl.col("job") == "live_gap_monitor").row(0, named=True)
    assert (row["runs"], row["last_status"]) == (2, "succeeded")
    if works:
        assert row["gaps_found"] == row["gaps_filled"] == 2
        assert row["bars_made"] >= 3
        assert row["oldest_gap"] is None
    else:
        assert row["gaps_filled"] == 0 < row["gaps_found"]
        assert row["oldest_gap"] <= SEVEN
