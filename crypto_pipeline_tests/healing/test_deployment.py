"""Two venues in one deployment: each series comes from its own venue, and one that fails costs exactly itself.

Guards I1 and I3 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import polars as pl
import pytest

from crypto_pipeline.healing import Deployment, deployment
from crypto_pipeline.market import Instrument, Timeframe
from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.store import StoreError
from crypto_pipeline.venues import VenueError
from crypto_pipeline_tests.healing.conftest import NOW, Bench

T = TypeVar("T")
VENUES = ("replay", "replay_standby")
PLAIN, ELSEWHERE = "BTC-USDT", "BTC-USDT@replay_standby"
DOWN = {"kind": "outage", "manner": "refuse"}
SINCE = NOW.replace(hour=6, minute=0, second=0)
PRICES = ["open_time", "open", "high", "low", "close", "volume"]


@pytest.fixture
def bench(make_bench: Callable[..., Bench], second: ReplayExchange) -> Bench:
    made = make_bench(
        instruments="BTCUSDT,ETHUSDT", settings={"replay_standby_port": second.port, "request_attempts": 1}
    )
    first = [Instrument.crypto(PLAIN).model_copy(update={"venue": "replay"})]
    made.store.instruments.add([*first, Instrument.crypto(ELSEWHERE)])
    return made


def run(bench: Bench, work: Callable[[Deployment], Awaitable[T]]) -> T:
    async def main() -> T:
        async with Deployment.open(bench.store, bench.settings, VENUES) as deployment:
            await deployment.sync_instruments()
            return await work(deployment)

    return asyncio.run(main())


def stored(bench: Bench, symbol: str) -> pl.DataFrame:
    return bench.store.reader.read([symbol], Timeframe.M1, SINCE, Timeframe.M1.floor(NOW))


def tape(exchange: ReplayExchange, since: Any = SINCE) -> pl.DataFrame:
    return exchange.market.bars("BTCUSDT", Timeframe.M1, since, Timeframe.M1.floor(NOW))


def backfill(bench: Bench, *symbols: str) -> Any:
    return run(bench, lambda deployment: deployment.backfill(SINCE, NOW, symbols))


def test_every_series_comes_from_its_own_venue(bench: Bench, second: ReplayExchange) -> None:
    report = backfill(bench)
    assert not report.problems
    assert not report.still_missing
    assert stored(bench, PLAIN).select(PRICES).equals(tape(bench.exchange).select(PRICES))
    assert stored(bench, ELSEWHERE).select(PRICES).equals(tape(second).select(PRICES))
    assert not tape(bench.exchange).select(PRICES).equals(tape(second).select(PRICES)), "the markets differ"
    again = backfill(bench)
    assert again.nothing_to_do


def test_a_venue_that_fails_is_named_and_the_other_is_done(bench: Bench, second: ReplayExchange) -> None:
    run(bench, lambda deployment: deployment.now())  # both are listed
    second.control(DOWN)
    report = backfill(bench)
    assert stored(bench, PLAIN).select(PRICES).equals(tape(bench.exchange).select(PRICES))
    assert stored(bench, ELSEWHERE).is_empty()
    assert list(report.problems) == ["replay_standby"]
    second.clear_faults()
    assert not backfill(bench).problems
    assert stored(bench, ELSEWHERE).select(PRICES).equals(tape(second).select(PRICES))


def test_a_venue_that_demands_a_pause_is_not_waited_for(
    bench: Bench, second: ReplayExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "_LOOK_EVERY", 0.1)
    monkeypatch.setattr(deployment, "_PATIENCE", 0.5)
    run(bench, lambda deployment: deployment.now())  # both are listed
    second.control({"kind": "rate_limit", "status": 429, "retry_after": 120})
    begun = time.monotonic()
    report = backfill(bench)
    assert time.monotonic() - begun < 60
    assert "demands a pause" in report.problems["replay_standby"]
    assert stored(bench, PLAIN).select(PRICES).equals(tape(bench.exchange).select(PRICES))
    assert stored(bench, ELSEWHERE).is_empty()


def test_only_where_no_venue_answers_the_failure_is_raised(bench: Bench, second: ReplayExchange) -> None:
    for exchange in (bench.exchange, second):
        exchange.control(DOWN)
    with pytest.raises(VenueError):
        backfill(bench)


def test_work_on_named_instruments_asks_their_venue_alone(bench: Bench, second: ReplayExchange) -> None:
    run(bench, lambda deployment: deployment.now())
    bench.exchange.control(DOWN)

    async def work(deployment: Deployment) -> Any:
        return await deployment.backfill(SINCE, NOW, [ELSEWHERE])

    async def main() -> Any:
        async with Deployment.open(bench.store, bench.settings, VENUES) as deployment:
            return await work(deployment)

    report = asyncio.run(main())
    assert not report.problems
    assert stored(bench, ELSEWHERE).select(PRICES).equals(tape(second).select(PRICES))
    assert stored(bench, PLAIN).is_empty()


def test_an_unknown_instrument_and_one_of_a_venue_outside_are_refused(bench: Bench) -> None:
    with pytest.raises(StoreError, match="unknown instrument NOPE-USDT"):
        backfill(bench, "NOPE-USDT")
    bench.store.instruments.add([Instrument.crypto("ETH-USDT@kraken")])
    with pytest.raises(StoreError, match="no venue of this deployment has ETH-USDT@kraken"):
        backfill(bench, "ETH-USDT@kraken")


def test_a_check_has_one_outcome_for_all_venues(bench: Bench, second: ReplayExchange) -> None:
    backfill(bench)

    def verify() -> dict[str, Any]:
        outcomes = run(bench, lambda deployment: deployment.verify(Timeframe.M1, SINCE, NOW))
        assert len({one.name for one in outcomes}) == len(outcomes)
        return {one.name: one for one in outcomes}

    assert verify()["freshness"].passed
    # The bars of the second venue stop: the check names its instrument and no other.
    since = Timeframe.M1.floor(NOW) - timedelta(minutes=90)
    delete = (
        "DELETE FROM market.ohlc_data WHERE timeframe = '1m' AND open_time >= %s AND instrument_id = "
        "(SELECT instrument_id FROM market.instruments WHERE symbol = %s)"
    )
    long_ago = "UPDATE market.instruments SET added_at = %s"
    bench.store.connections.run(lambda connection: connection.execute(long_ago, [NOW - timedelta(days=2)]).rowcount)
    bench.store.connections.run(lambda connection: connection.execute(delete, [since, ELSEWHERE]).rowcount)
    late = verify()["freshness"]
    assert not late.passed
    assert late.offenders["instrument"].to_list() == [ELSEWHERE]


def test_gaps_are_found_and_filled_at_their_venue(bench: Bench, second: ReplayExchange) -> None:
    async def work(deployment: Deployment) -> tuple[pl.DataFrame, Any]:
        gaps = await deployment.find_gaps(timedelta(hours=4))
        return gaps, await deployment.fill_gaps(gaps)

    gaps, report = run(bench, work)
    assert set(gaps["instrument"]) == {PLAIN, ELSEWHERE}
    assert not report.problems
    # The newest minute is no gap yet.
    rows = pl.col("open_time").is_between(NOW - timedelta(hours=3), NOW - timedelta(minutes=2))
    for symbol, exchange in ((PLAIN, bench.exchange), (ELSEWHERE, second)):
        ours = stored(bench, symbol).filter(rows).select(PRICES)
        assert ours.height == 178
        assert ours.equals(tape(exchange).filter(rows).select(PRICES))
