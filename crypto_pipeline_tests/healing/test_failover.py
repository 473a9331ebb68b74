"""Two exchanges on two ports: one stands in for the other, under its own name, and gives way to it.

Guards I1 (docs/invariants.md).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from crypto_pipeline.healing import Pipeline
from crypto_pipeline.market import BarOrigin, Instrument, Timeframe
from crypto_pipeline.market.bars import STAND_IN
from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.store import ListingRow
from crypto_pipeline.venues import make_stand_ins, make_venue
from crypto_pipeline_tests.builders.scripted_binance import status
from crypto_pipeline_tests.builders.scripted_others import NOW as SCRIPTED_NOW
from crypto_pipeline_tests.builders.scripted_others import ScriptedCoinbase, ScriptedKraken, deals, minute_bars
from crypto_pipeline_tests.healing.conftest import NOW, Bench

DOWN = {"kind": "outage", "manner": "refuse"}
SYMBOLS = ("BTC-USDT", "ETH-USDT")
ALERT = "failover:replay"
OTHER = str(BarOrigin.failover("replay_standby"))
PRICES = ["open_time", "open", "high", "low", "close"]
SINCE = NOW.replace(hour=4, minute=0, second=0)


@pytest.fixture
def bench(make_bench: Callable[..., Bench], second: ReplayExchange) -> Bench:
    settings = {"failover_venues": "replay_standby", "replay_standby_port": second.port, "request_attempts": 1}
    made = make_bench(instruments="BTCUSDT,ETHUSDT", settings=settings)
    made.collect(*SYMBOLS)
    return made


def backfill(bench: Bench) -> Any:
    return bench.run(lambda pipeline: pipeline.backfill(SINCE, NOW))


def stored(bench: Bench, symbol: str, timeframe: Timeframe = Timeframe.M1, since: datetime = SINCE) -> pl.DataFrame:
    return bench.store.reader.read([symbol], timeframe, since, timeframe.floor(NOW))


def tape(exchange: ReplayExchange, symbol: str, timeframe: Timeframe = Timeframe.M1) -> pl.DataFrame:
    return exchange.market.bars(symbol.replace("-", ""), timeframe, SINCE, timeframe.floor(NOW))


def alerts(bench: Bench) -> dict[str, str]:
    return dict(bench.store.checks.open_alerts().select("source", "summary").iter_rows())


def outcomes(bench: Bench) -> set[str | None]:
    rows = bench.store.connections.run(lambda link: link.execute("SELECT outcome FROM market.failovers").fetchall())
    return {row[0] for row in rows}


def test_another_venue_stands_in_under_its_own_name_and_gives_way(bench: Bench, second: ReplayExchange) -> None:
    bench.exchange.control(DOWN)
    report = backfill(bench)
    assert report.of(Timeframe.M1).stood_in == 2 * 390
    assert "cannot be asked" in alerts(bench)[ALERT]
    assert "bars of 2 instruments come from replay_standby" in alerts(bench)[ALERT]
    for symbol in SYMBOLS:
        for timeframe in (Timeframe.M1, Timeframe.M5, Timeframe.H1):
            ours = stored(bench, symbol, timeframe)
            assert ours.select(PRICES).equals(tape(second, symbol, timeframe).select(PRICES)), (symbol, timeframe)
            assert set(ours["source"]) == {OTHER}, "what is rolled up of them is not the first venue's either"
    # while it is down the switch stays, and it is asked once, not with all patience
    backfill(bench)
    assert list(alerts(bench)) == [ALERT]

    bench.exchange.clear_faults()
    backfill(bench)
    assert alerts(bench) == {}
    for symbol in SYMBOLS:
        for timeframe in (Timeframe.M1, Timeframe.M5, Timeframe.H1):
            ours = stored(bench, symbol, timeframe)
            assert ours.select(PRICES).equals(tape(bench.exchange, symbol, timeframe).select(PRICES))
            assert not set(ours["source"]) & set(map(str, STAND_IN))
    assert outcomes(bench) == {"replaced"}
    assert backfill(bench).nothing_to_do


def test_whatever_arrives_last_the_first_venues_copy_is_believed(bench: Bench) -> None:
    backfill(bench)
    before = stored(bench, "BTC-USDT")
    late = before.select(pl.exclude("recorded_at", "vwap")).with_columns(
        pl.lit(OTHER).alias("source"), pl.col("close") * 0 + pl.col("high"), pl.col("revision") + timedelta(days=9)
    )
    result = bench.store.bars.write(late, Timeframe.M1)
    assert (result.inserted, result.superseded) == (0, 0)
    assert stored(bench, "BTC-USDT").equals(before)


def test_what_the_first_venue_cannot_state_stays_as_it_is_and_is_not_asked_for_for_ever(
    bench: Bench, second: ReplayExchange
) -> None:
    bench.settings = bench.settings.model_copy(update={"heal_attempts": 2})
    bench.exchange.control(DOWN)
    backfill(bench)
    bench.exchange.clear_faults()
    nine, ten = NOW.replace(hour=9, minute=0, second=0), NOW.replace(hour=10, minute=0, second=0)
    bench.exchange.control({"kind": "missing_range", "start": nine.isoformat(), "end": ten.isoformat()})
    for _ in range(2):
        backfill(bench)
    kept = stored(bench, "BTC-USDT").filter(pl.col("source") == OTHER)
    assert kept["open_time"].to_list() == [nine + timedelta(minutes=n) for n in range(60)]
    assert outcomes(bench) == {"kept"}
    assert alerts(bench) == {}
    assert backfill(bench).of(Timeframe.M1).fetched == 0


def test_older_history_waits_for_the_first_venue(bench: Bench) -> None:
    bench.settings = bench.settings.model_copy(update={"failover_days": 1})
    bench.exchange.control(DOWN)
    bench.run(lambda pipeline: pipeline.backfill(None, NOW))
    newest_day = NOW.replace(second=0) - timedelta(days=1) + timedelta(minutes=1)
    assert stored(bench, "BTC-USDT", since=NOW - timedelta(days=3))["open_time"].min() == newest_day


def test_minutes_that_the_first_venue_contradicts_come_from_another_until_it_agrees_with_itself(
    bench: Bench, second: ReplayExchange
) -> None:
    start, end = NOW.replace(hour=7, minute=0, second=0), NOW.replace(hour=7, minute=10, second=0)
    span = {"start": start.isoformat(), "end": end.isoformat()}
    bench.exchange.control({"kind": "wrong_values", "symbol": "ETH-USDT", "factor": 0.5, **span})
    backfill(bench)
    bench.run(lambda pipeline: pipeline.reconcile(SINCE, NOW, timeframes=[Timeframe.M5]))
    ours = stored(bench, "ETH-USDT")
    taken = ours.filter(pl.col("open_time").is_between(start, end, closed="left"))
    assert set(taken["source"]) == {str(BarOrigin.substitute("replay_standby"))}
    true = tape(second, "ETH-USDT").filter(pl.col("open_time").is_between(start, end, closed="left"))
    assert taken.select(PRICES).equals(true.select(PRICES))
    assert set(ours.join(taken, on="open_time", how="anti")["source"]) == {str(BarOrigin.VENUE_HISTORICAL)}
    five = stored(bench, "ETH-USDT", Timeframe.M5).filter(pl.col("open_time").is_between(start, end, closed="left"))
    assert set(five["source"]) == {str(BarOrigin.substitute("replay_standby"))}
    assert list(alerts(bench)) == [f"{ALERT}:disputed"]
    # asked again, nothing changes: not by reading the same contradiction again, not by another reconciliation
    bench.run(lambda pipeline: pipeline.reconcile(SINCE, NOW, timeframes=[Timeframe.M5], reread=True))
    assert stored(bench, "ETH-USDT").select(PRICES).equals(ours.select(PRICES))

    bench.exchange.clear_faults()
    bench.run(lambda pipeline: pipeline.reconcile(SINCE, NOW, timeframes=[Timeframe.M5]))
    for timeframe in (Timeframe.M1, Timeframe.M5, Timeframe.H1):
        ours = stored(bench, "ETH-USDT", timeframe)
        assert ours.select(PRICES).equals(tape(bench.exchange, "ETH-USDT", timeframe).select(PRICES)), timeframe
        assert not set(ours["source"]) & set(map(str, STAND_IN)), timeframe
    assert alerts(bench) == {}
    assert outcomes(bench) == {"replaced"}


def test_without_another_venue_a_pass_fails_as_before(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(instruments="BTCUSDT", settings={"request_attempts": 1})
    bench.collect("BTC-USDT")
    bench.exchange.control(DOWN)
    with pytest.raises(Exception, match="replay"):
        backfill(bench)
    assert alerts(bench) == {}


@pytest.mark.parametrize(("venue", "coinbase_down"), [("coinbase", False), ("kraken", True)])
async def test_coinbase_and_kraken_stand_in_for_one_that_is_down(bench: Bench, venue: str, coinbase_down: bool) -> None:
    """Their clients against servers with their manners; the next in the list is asked where the one before cannot."""
    trades = deals(3000)
    bench.store.instruments.add([Instrument.crypto("BTC-USD")])
    bench.store.instruments.set_listings("replay", [ListingRow("BTC-USD", "BTCUSD")])
    bench.exchange.control(DOWN)
    end = Timeframe.M1.floor(SCRIPTED_NOW)
    start = end - timedelta(minutes=30)
    async with ScriptedCoinbase(trades) as coinbase, ScriptedKraken(trades) as kraken:
        if coinbase_down:
            coinbase.script("/products", *[status(503)] * 9)
        settings = bench.settings.model_copy(
            update={"failover_venues": "coinbase,kraken", "coinbase_url": coinbase.url, "kraken_url": kraken.url}
        )
        first, others = make_venue(settings), make_stand_ins(settings)
        pipeline = Pipeline(bench.store, first, settings, SCRIPTED_NOW, others)
        await pipeline.backfill(start, end, ["BTC-USD"], [Timeframe.M1])
        await others.close()
        await first.close()
    ours = bench.store.reader.read(["BTC-USD"], Timeframe.M1, start, end)
    assert set(ours["source"]) == {str(BarOrigin.failover(venue))}
    assert f"come from {venue}" in alerts(bench)[ALERT]
    low, high = (round(moment.timestamp() * 1000) for moment in (start, end))
    truth = {at: bar for at, bar in minute_bars(trades).items() if low <= at < high}
    traded = ours.filter(pl.col("volume") > 0)
    assert traded["open_time"].dt.epoch("ms").to_list() == sorted(truth)
    assert traded["close"].to_list() == [truth[at][3] for at in sorted(truth)]
