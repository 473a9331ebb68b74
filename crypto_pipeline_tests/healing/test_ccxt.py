"""An exchange of ccxt from its wire to the tables: rows of the tape alone, and no hole explained without proof.

Guards I3 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from crypto_pipeline.healing import Pipeline
from crypto_pipeline.healing.checks.stored_bars import accounted_for
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.venues.contract.broken_markets import listing_with
from crypto_pipeline_tests.venues.contract.ccxt_wires import BitfinexWire, CcxtWire, KucoinWire
from crypto_pipeline_tests.venues.contract.market import MINUTE, Market, Row
from crypto_pipeline_tests.venues.contract.server import serving

M1, H1 = Timeframe.M1, Timeframe.H1


@pytest.fixture
def store(postgres_url: str) -> Store:
    return Store(postgres_url)


def fill(store: Store, wire: CcxtWire) -> None:
    """Bring everything up to date, and again as often as a hole is asked for, each time a second later."""
    store.instruments.add(
        Instrument.crypto(f"{base}-{wire.quote}").model_copy(update={"venue": wire.name}) for base in ("BTC", "ETH")
    )

    async def main() -> None:
        async with serving(wire) as (_, venue):
            settings = Settings(venue=wire.name, days=1, heal_backoff=0.001, heal_attempts=2, request_timeout=5.0)
            pipeline = Pipeline(store, venue, settings)
            await pipeline.sync_instruments()
            for _ in range(settings.heal_attempts + 1):
                await pipeline.backfill()
                wire.market.now += 1_000

    asyncio.run(main())


def stored(store: Store, wire: CcxtWire) -> tuple[list[tuple[object, ...]], list[Row]]:
    """Minutes of BTC in the table, and on the tape up to the last that is final; from the first expected one on."""
    first = store.coverage.cells([M1], None, None)["day"].min()
    since = from_unix_ms(int(pl.Series([first]).cast(pl.Datetime("ms"))[0].timestamp() * 1000))
    rows = store.reader.read([f"BTC-{wire.quote}"], M1, since, from_unix_ms(wire.market.now + 10 * MINUTE))
    final = (wire.market.now - 10_000) // MINUTE * MINUTE
    tape = wire.market.bars(wire.market.pairs["BTC"], MINUTE, flat=False)
    values = rows.select(pl.col("open_time").dt.epoch("ms"), "open", "high", "low", "close", "volume").rows()
    return values, [row for row in tape if since.timestamp() * 1000 <= row.time < final]


def test_rows_are_those_of_the_tape_and_trades_explain_the_rest(store: Store) -> None:
    wire = BitfinexWire(Market())
    fill(store, wire)
    rows, tape = stored(store, wire)
    assert [row[0] for row in rows] == [row.time for row in tape], "no row is lost, no forming bar is stored"
    assert [row[1:5] for row in rows] == [row[1:5] for row in tape]
    ledger = store.ledger.open(M1)
    assert set(ledger["state"]) == {"no_trade"}
    assert {json.loads(text)["rule"] for text in ledger["evidence"]} == {"no_trade_shown"}
    for timeframe in (M1, H1):
        cells = store.coverage.cells([timeframe], None, None)
        assert cells.filter(pl.col("expected") > pl.col("present") + pl.col("explained")).is_empty()


def test_minutes_that_the_venue_hides_are_made_of_its_trades(store: Store) -> None:
    market = Market()
    shown = [row.time for row in market.bars(market.pairs["BTC"], MINUTE, flat=False)]
    market.hidden = frozenset(shown[-60:-20:4])
    wire = BitfinexWire(market)
    fill(store, wire)
    rows, _ = stored(store, wire)
    market.hidden = frozenset()
    _, tape = stored(store, wire)
    assert [row[0] for row in rows] == [row.time for row in tape]
    for row, true in zip(rows, tape, strict=True):
        assert row[1:5] == true[1:5]
        assert row[5] == pytest.approx(true.volume)
    assert "lost" not in set(store.ledger.open(M1)["state"])


def test_without_trades_a_hole_stays_unproven_and_is_only_warned_of(store: Store) -> None:
    """KuCoin gives its newest hundred trades: nothing shows what happened in the minutes before them."""
    wire = KucoinWire(Market())
    fill(store, wire)
    rows, tape = stored(store, wire)
    assert [row[0] for row in rows] == [row.time for row in tape]
    ledger = store.ledger.open(M1)
    assert set(ledger["state"]) == {"unproven", "no_trade"}, "never lost, never given up, never called silent"
    unproven = ledger.filter(state="unproven")
    assert unproven["next_attempt"].null_count() == 0
    assert unproven["attempts"].max() > 2, "more often than a hole that would be given up"  # type: ignore[operator]
    cells = store.coverage.cells([M1], None, None)
    missing = int(cells.select((pl.col("expected") - pl.col("present") - pl.col("explained")).sum()).item())
    assert missing == unproven["bars"].sum() > 0
    start, end = from_unix_ms(wire.market.now - 3 * 86_400_000), from_unix_ms(wire.market.now)
    outcome = accounted_for(store, M1, start, end)
    assert (outcome.passed, outcome.severity) == (False, "warning")
    assert "the venue does not show whether anything was traded" in outcome.summary
    # hours over such minutes are the venue's own
    hours = store.reader.read(["BTC-USDT"], H1, start, end)
    true = {row.time: row for row in wire.market.bars(wire.market.pairs["BTC"], 3_600_000, flat=False)}
    assert hours.height > 20
    for moment, close in hours.select(pl.col("open_time").dt.epoch("ms"), "close").iter_rows():
        assert close == true[moment].close


def test_an_instrument_whose_market_cannot_be_read_is_asked_for_again_and_costs_no_other(store: Store) -> None:
    wire = KucoinWire(Market())
    name = f"listings:{wire.name}"
    symbols = [f"{base}-USDT@{wire.name}" for base in ("BTC", "ETH")]
    store.instruments.add(Instrument.crypto(symbol) for symbol in symbols)

    def broken(rows: list[Any]) -> list[Any]:
        return [{"symbol": None} if row["baseCurrency"] == "ETH" else row for row in rows]

    async def main() -> None:
        async with serving(wire) as (server, venue):
            settings = Settings(venue=wire.name, days=1, heal_backoff=0.001, heal_attempts=2, request_timeout=5.0)
            pipeline = Pipeline(store, venue, settings)
            server.fail("listings", *[listing_with(wire, broken)] * 2)
            await pipeline.backfill()
            assert stored_symbols() == symbols[:1], "the market beside it has its history"
            asked = len(server.asked("listings"))
            await pipeline.backfill()
            assert len(server.asked("listings")) == asked, "not before the pause is over"
            look = store.heartbeats.get(name)
            assert look is not None
            assert look.detail == {"unlisted": symbols, "pause": 30.0}
            store.heartbeats.beat(name, "look", {"unlisted": symbols, "pause": 0.0})
            server.drop("listings")
            await pipeline.backfill()
            assert stored_symbols() == symbols

    def stored_symbols() -> list[str]:
        end = from_unix_ms(wire.market.now)
        return sorted(set(store.reader.read(symbols, M1, end - timedelta(days=1), end)["instrument"]))

    asyncio.run(main())
