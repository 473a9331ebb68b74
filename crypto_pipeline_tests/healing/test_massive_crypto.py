"""Massive's crypto pairs from end to end: listings, history, silent minutes, live minutes over the stream.

Guards I3 and I4 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import polars as pl

from crypto_pipeline.healing import Pipeline
from crypto_pipeline.healing.checks.stored_bars import accounted_for
from crypto_pipeline.ingest.run import run_ingest
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store

NOW = datetime(2026, 3, 8, 12, 0, 20, tzinfo=UTC)  # the day on which New York's clocks went forward
PAIRS = ["BTC-USD", "ETH-USD"]
M1 = Timeframe.M1
SINCE = datetime(2026, 3, 7, tzinfo=UTC)


def truth(exchange: ReplayExchange, name: str, end: datetime) -> pl.DataFrame:
    days = (SINCE - timedelta(days=1)).date(), end.date()
    rows = exchange.massive.pairs.minutes(f"X:{name.replace('-', '')}", *days)
    edges = (int(moment.timestamp() * 1000) for moment in (SINCE, end))
    return rows.filter(pl.col("t").is_between(*edges, closed="left"))


def test_pairs_are_backfilled_explained_and_go_on_live(postgres_url: str) -> None:
    with running_exchange("generated", instruments=1, now=NOW, speed=20.0) as exchange:
        store = Store(postgres_url)
        store.instruments.add([Instrument.crypto(name) for name in PAIRS])
        store.instruments.assign_venue("massive_crypto")
        settings = Settings(
            venue="massive_crypto", massive_source="replay", replay_port=exchange.port, replay_speed=20.0, days=1,
            heal_backoff=0.001,
        )  # fmt: skip
        until = asyncio.run(_fill_and_ingest(store, settings, exchange))
        stored = store.reader.read(PAIRS, M1, SINCE, until, complete=True)
        for name in PAIRS:
            mine, expected = stored.filter(pl.col("instrument") == name), truth(exchange, name, until)
            assert mine["open_time"].to_physical().to_list() == expected["t"].to_list()
            assert mine["close"].to_list() == expected["c"].to_list()
            assert mine["volume"].to_list() == expected["v"].to_list()
        assert accounted_for(store, M1, SINCE, M1.floor(NOW)).passed
        rows = store.ledger.open(M1, PAIRS, end=M1.floor(NOW))
        assert set(rows["state"]) == {"no_trade"}
        assert {json.loads(text)["rule"] for text in rows["evidence"]}
        beat = store.heartbeats.get("ingest-0")
        assert beat is not None
        assert beat.detail["venue"] == "massive_crypto"
        assert exchange.massive.streams.most["replay", "crypto"] == 1


def whole(store: Store, exchange: ReplayExchange, until: datetime) -> bool:
    """Whether every minute that was traded is stored, and every other one before the session is accounted for."""
    stored = store.reader.read(PAIRS, M1, SINCE, until, complete=True, columns=("instrument", "open_time"))
    traded = sum(truth(exchange, name, until).height for name in PAIRS)
    return stored.height >= traded and accounted_for(store, M1, SINCE, M1.floor(NOW)).passed


def _confirmed_until(store: Store) -> datetime:
    """End of the minutes that REST has stated: of those after it ingest stored what its stream said when it stopped.

    The next term of ingest asks for those again, a backfill does not.
    """
    rows = store.reader.read(PAIRS, M1, SINCE, NOW + timedelta(days=1), columns=("instrument", "open_time", "complete"))
    provisional = rows.filter(~pl.col("complete"))["open_time"].min()
    newest = rows["open_time"].max()
    assert isinstance(newest, datetime)
    return provisional if isinstance(provisional, datetime) else newest + M1.delta


async def _fill_and_ingest(store: Store, settings: Settings, exchange: ReplayExchange) -> datetime:
    """Collect history, then live minutes, then what lies between. Gives the end of the minutes that were live."""
    async with Pipeline.open(store, settings) as pipeline:
        await pipeline.sync_instruments()
        await pipeline.backfill()
        await pipeline.backfill()  # what leaves out silent minutes is asked twice before that counts
    stop = asyncio.Event()
    task = asyncio.create_task(run_ingest(settings, stop=stop, store=store))
    begun = exchange.clock.now()

    def confirmed() -> bool:
        newest = store.audit.newest(M1).drop_nulls()
        return newest.filter(pl.col("open_time") >= begun + M1.delta).height == len(PAIRS)

    async with asyncio.timeout(120):
        while not await asyncio.to_thread(confirmed):
            await asyncio.sleep(0.1)
    stop.set()
    await task
    until = _confirmed_until(store)
    assert until > begun + M1.delta
    async with Pipeline.open(store, settings) as pipeline:
        # the minutes between the backfill and the stream, silent ones a second time; those that came last wait a minute
        async with asyncio.timeout(120):
            while not await asyncio.to_thread(whole, store, exchange, until):
                await pipeline.backfill()
    return until
