"""Ingest of a venue that streams bars to one connection: provisional minutes, REST's copies, one connection to a key.

Guards I1 and I8 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from websockets.asyncio.client import connect

from crypto_pipeline.ingest.run import run_ingest
from crypto_pipeline.ingest.shards import ingest_shards
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.replay.massive.generated import GeneratedStocks
from crypto_pipeline.replay.massive.plans import Plan
from crypto_pipeline.replay.massive.tape import Stock
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.instruments import ListingRow
from crypto_pipeline_tests.builders.deployment import crowding

KEY, NAME = "one-key", "ingest-0"
M1 = Timeframe.M1
#: Monday: New York opens at 13:30 UTC.
OPENS = datetime(2024, 7, 8, 13, 30, tzinfo=UTC)
NAMES = ["AAPL", "BRK-B"]


class Stocks:
    """One exchange with stocks, one database."""

    def __init__(self, exchange: ReplayExchange, url: str) -> None:
        self.exchange, self.url = exchange, url
        self.store = Store(url)
        self.store.instruments.add([Instrument.stock(name) for name in NAMES])
        self.store.instruments.set_listings("massive", [ListingRow(one, one.replace("-", ".")) for one in NAMES])
        self.store.instruments.assign_venue("massive")

    def settings(self, **more: Any) -> dict[str, Any]:
        speed = max(self.exchange.clock.speed, 1e-3)
        return {
            "venue": "massive", "massive_source": "replay", "massive_key": KEY, "replay_port": self.exchange.port,
            "replay_speed": speed, "ingest_lease_seconds": 3, **more,
        }  # fmt: skip

    @asynccontextmanager
    async def ingesting(self, **more: Any) -> AsyncIterator[asyncio.Task[str]]:
        stop = asyncio.Event()
        task = asyncio.create_task(run_ingest(Settings(**self.settings(**more)), stop=stop, store=self.store))
        try:
            yield task
        finally:
            stop.set()
            await asyncio.wait_for(task, 30)

    async def until(self, reached: Callable[[], bool], patience: float = 60) -> None:
        end = time.monotonic() + patience * crowding()
        while not await asyncio.to_thread(reached):
            assert time.monotonic() < end, f"it did not happen in time: {self.store.heartbeats.get(NAME)}"
            await asyncio.sleep(0.05)

    def bars(self) -> pl.DataFrame:
        start = OPENS - timedelta(hours=1)
        return self.store.reader.read(NAMES, M1, start, start + timedelta(hours=3)).sort("instrument", "open_time")

    def truth(self, name: str) -> pl.DataFrame:
        return self.exchange.massive.tape.minutes(name.replace("-", "."), OPENS.date(), OPENS.date())

    def admitted(self) -> int:
        return self.exchange.massive.streams.counts["admitted"]


@pytest.fixture
def stocks(postgres_url: str, request: pytest.FixtureRequest) -> Iterator[Stocks]:
    options = {"now": OPENS - timedelta(seconds=70), "speed": 20.0, **getattr(request, "param", {})}
    tape = GeneratedStocks([Stock(one, date(2024, 1, 2)) for one in ("AAPL", "BRK.B")])
    with running_exchange("generated", instruments=1, stocks=tape, massive_plans={KEY: Plan()}, **options) as exchange:
        yield Stocks(exchange, postgres_url)


async def test_a_minute_of_the_stream_is_provisional_until_rest_has_stated_it(stocks: Stocks) -> None:
    async with stocks.ingesting():
        await stocks.until(lambda: stocks.bars().height > 0)
        await stocks.until(lambda: stocks.store.live.prices(NAMES).height == len(NAMES))
        # REST's copies have replaced some of the stream's, which are kept with the time in which they were the truth
        await stocks.until(lambda: stocks.bars().filter("complete").height >= 6)
        detail = stocks.store.heartbeats.get(NAME)
        assert detail is not None
        assert detail.detail["state"] == "live"
    stored, revisions = stocks.bars(), _revisions(stocks)
    for name in NAMES:
        mine = stored.filter(pl.col("instrument") == name)
        begin, end = (mine["open_time"].to_physical().min(), mine["open_time"].to_physical().max())
        truth = stocks.truth(name).filter(pl.col("t").is_between(begin, end))
        # nothing is missing, nothing invented; minutes before the session are among them where something traded
        assert mine["open_time"].to_physical().to_list() == truth["t"].to_list()
        assert mine["close"].to_list() == truth["c"].to_list()
    whole = stored.filter("complete")
    assert whole["trade_count"].null_count() == 0  # REST states it, the stream does not
    assert revisions
    assert all(not complete for complete in revisions)
    # what was not confirmed when it stopped is asked for by the next term
    async with stocks.ingesting():
        await stocks.until(lambda: stocks.bars().filter("complete").height >= stored.height)


def _revisions(stocks: Stocks) -> list[bool]:
    rows = stocks.store.connections.rows("SELECT complete FROM market.ohlc_revisions", [])
    return [bool(row[0]) for row in rows]


@pytest.mark.parametrize("stocks", [{"now": OPENS + timedelta(hours=9), "speed": 60.0}], indirect=True)
async def test_silence_outside_of_the_session_is_no_fault(stocks: Stocks) -> None:
    async with stocks.ingesting():
        began = stocks.exchange.clock.now()
        await stocks.until(lambda: stocks.admitted() == 1)
        await stocks.until(lambda: stocks.exchange.clock.now() - began > timedelta(minutes=6))
        beat = stocks.store.heartbeats.get(NAME)
        assert beat is not None
        assert beat.detail["link_silences"] == beat.detail["link_cuts"] == 0
        assert stocks.admitted() == 1
    assert stocks.bars().is_empty()
    assert stocks.store.ledger.open(M1, NAMES).is_empty()


@pytest.mark.parametrize("stocks", [{"now": OPENS + timedelta(minutes=5), "speed": 1.0}], indirect=True)
async def test_a_connection_of_another_program_is_an_alert_with_the_fix_and_no_loop(stocks: Stocks) -> None:
    async with connect(f"ws://127.0.0.1:{stocks.exchange.port}/stocks") as other:
        await other.recv()
        await other.send(json.dumps({"action": "auth", "params": KEY}))
        assert "auth_success" in str(await other.recv())
        async with stocks.ingesting():

            def alerts() -> list[str]:
                rows = stocks.store.checks.open_alerts().filter(pl.col("source") == f"stream:{NAME}")
                return rows["summary"].to_list()

            await stocks.until(lambda: bool(alerts()))
            assert "Maximum number of websocket connections exceeded" in alerts()[0]
            assert "another program is connected with this key: stop it" in alerts()[0]
            await asyncio.sleep(3)
            assert stocks.exchange.massive.streams.counts["refused"] == 1
    assert stocks.exchange.massive.streams.most[KEY, "stocks"] == 1


class Collectors:
    """Ingest programs of one test."""

    def __init__(self, stocks: Stocks, folder: Path) -> None:
        self.stocks, self.folder = stocks, folder
        self.programs: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        values = self.stocks.settings(data_dir=self.folder, database_url=self.stocks.url)
        given = {f"CRYPTO_PIPELINE_{name.upper()}": str(value) for name, value in values.items()}
        with self.log(len(self.programs)).open("wb") as log:
            program = subprocess.Popen(
                [sys.executable, "-m", "crypto_pipeline.ingest"], env=os.environ | given, stdout=log, stderr=log
            )
        self.programs.append(program)
        return program

    def log(self, number: int) -> Path:
        return self.folder / f"{number}.log"

    def live(self, program: subprocess.Popen[bytes]) -> bool:
        beat = self.stocks.store.heartbeats.get(NAME)
        mine = beat is not None and f":{program.pid}:" in beat.holder and beat.age < 3
        return mine and beat is not None and beat.detail["state"] == "live" and beat.detail["links"] == 1


@pytest.fixture
def collectors(stocks: Stocks, tmp_path: Path) -> Iterator[Collectors]:
    made = Collectors(stocks, tmp_path)
    yield made
    for program in made.programs:
        program.kill()
        program.wait()


@pytest.mark.parametrize("stocks", [{"now": OPENS + timedelta(minutes=5), "speed": 5.0}], indirect=True)
async def test_two_collectors_on_one_key_never_have_two_connections(stocks: Stocks, collectors: Collectors) -> None:
    first = collectors.start()
    await stocks.until(lambda: collectors.live(first))
    second = collectors.start()
    await stocks.until(lambda: "is held by another process: standing by" in collectors.log(1).read_text())
    assert stocks.admitted() == 1
    first.send_signal(signal.SIGKILL)
    await stocks.until(lambda: collectors.live(second))
    await stocks.until(lambda: stocks.admitted() == 2)
    assert stocks.exchange.massive.streams.most[KEY, "stocks"] == 1
    assert stocks.exchange.massive.streams.counts["refused"] == 0


@pytest.mark.parametrize("stocks", [{"now": OPENS + timedelta(minutes=5), "speed": 5.0}], indirect=True)
async def test_a_paused_collector_closes_its_connection_before_another_may_open_one(
    stocks: Stocks, collectors: Collectors
) -> None:
    """A process that cannot renew its lease lets go of the connection while the lease still holds."""
    first = collectors.start()
    await stocks.until(lambda: collectors.live(first))
    # the row of the lease is locked: it cannot be renewed
    with stocks.store.connections.transaction() as connection:
        connection.execute("SELECT 1 FROM ops.leases WHERE name = %s FOR UPDATE", [NAME])
        await stocks.until(lambda: not stocks.exchange.massive.streams.lines)
    await stocks.until(lambda: len(stocks.exchange.massive.streams.lines) == 1)
    assert stocks.exchange.massive.streams.most[KEY, "stocks"] == 1


def test_a_key_that_allows_one_connection_has_one_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(venue="massive", massive_source="replay", ingest_shards=4)
    assert [shard.name for shard in ingest_shards(settings)] == [NAME]
    assert ingest_shards(settings.model_copy(update={"massive_feed": "rest"})) == []
