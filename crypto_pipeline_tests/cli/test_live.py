"""`live`: what arrives, how old it is, from whom, and what today lacks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from crypto_pipeline.healing.plan import Horizon, refresh_expected
from crypto_pipeline.market import BarOrigin, Instrument, Timeframe
from crypto_pipeline.reading.watchlist import watchlist
from crypto_pipeline.store import Store
from crypto_pipeline.store.trades.live_prices import LivePrice
from crypto_pipeline_tests.builders.bars import bar, frame
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]

SYMBOLS = ["BTC-USDT", "ETH-USDT", "SOL-USDT"]


@pytest.mark.parametrize("recorded", [None, datetime(2021, 4, 25, 8, 0, 30, tzinfo=UTC)])
def test_prices_ages_sources_bars_and_holes_of_the_markets_today(
    run: Run, postgres_url: str, recorded: datetime | None
) -> None:
    moment = recorded or datetime.now(UTC)
    minute = Timeframe.M1.floor(moment)
    with Store(postgres_url) as store:
        if recorded is not None:
            store.clock.learn("replay", recorded)
        store.instruments.add([Instrument.crypto(symbol) for symbol in SYMBOLS])
        known = pl.DataFrame({"instrument": SYMBOLS, "calendar": ["24/7"] * 3})
        refresh_expected(store, known, Horizon.of(moment, 1, 0), [Timeframe.M1])
        ms = round(moment.timestamp() * 1000)
        for symbol, age in (("BTC-USDT", 3), ("ETH-USDT", 900)):
            values = (7.0, 7.0, 7.0, 7.0, 1.0, 7.0, 0.0, 1, 7.5)
            price = LivePrice(symbol, Timeframe.M1, ms - ms % 60_000, *values, ms - age * 1000, 9, "live_aggregated")
            store.live.flush("replay", None, [price])
        other = str(BarOrigin.failover("kraken"))
        store.bars.write(frame([bar("ETH-USDT", minute - timedelta(minutes=1), source=other)]), Timeframe.M1)
        day_ago = minute - timedelta(days=1, minutes=5)  # nothing traded later, so it is the price of a day ago
        store.bars.write(frame([bar("BTC-USDT", day_ago)]), Timeframe.M1)
        rows = {row["instrument"]: row for row in watchlist(store).iter_rows(named=True)}
        expected = (minute - minute.replace(hour=0, minute=0)) // timedelta(minutes=1)
    assert list(rows) == SYMBOLS
    btc, eth, sol = rows.values()
    assert (btc["last_price"], btc["source"]) == (7.5, "live_aggregated")
    assert 3 <= btc["age_s"] < 30
    assert (eth["last_price"], eth["source"]) == (100.5, other)
    assert eth["age_s"] < 90
    assert (sol["last_price"], sol["source"], sol["bars"]) == (None, None, 0)
    assert btc["change_24h"] == pytest.approx(7.5 / 100.5 - 1)
    assert sol["change_24h"] is None
    if expected > 1:  # not in the first minutes of a day
        assert (eth["bars"], eth["holes"]) == (1, expected - 1)
        assert eth["explained"] == 0
    code, out, _ = run("live", "--once", DATABASE_URL=postgres_url)
    assert code == 0
    assert out.split()[:6] == ["instrument", "last_price", "age_s", "source", "bars", "holes"]
    assert other in out
    assert {row["instrument"] for row in json.loads(run("live", "--json")[1])} == set(SYMBOLS)
