"""Crypto of two venues, stocks and macro series in one deployment: complete, and every check passes.

Guards I3 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline.cli.commands.deployment import macro_given, stocks_given
from crypto_pipeline.healing import Deployment
from crypto_pipeline.healing.checks.stored_bars import rollup_conservation
from crypto_pipeline.healing.macro.checks import check_macro, record_macro
from crypto_pipeline.healing.macro.sync import sync_macro
from crypto_pipeline.market.macro.series import choose_series
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.status import Stored
from crypto_pipeline.ops.supervision.start.initial_instruments import begin_collecting
from crypto_pipeline.replay import running_exchange
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues import collected_venues
from crypto_pipeline_tests.builders.fred import without_pace

#: The evening of the day after Thanksgiving, on which New York closed at 13:00.
NOW = datetime(2025, 11, 28, 23, 10, 30, tzinfo=UTC)
UNIVERSE = """
[[group]]
tier = "large"
symbols = ["BTC", "ETH", "SOL"]
[[group]]
tier = "large"
venue = "replay_standby"
symbols = ["BTC"]
[[group]]
tier = "stock"
asset_class = "stock"
calendar = "XNYS"
symbols = ["NVDA", "BRK-B"]
"""


def test_crypto_stocks_and_macro_series_are_complete_together(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pace(monkeypatch)
    file = tmp_path / "universe.toml"
    file.write_text(UNIVERSE)
    monkeypatch.delenv("CRYPTO_PIPELINE_DAYS", raising=False)
    plain = {"replay_source": "generated", "universe_file": file, "instruments": "all", "days": 2, "heal_backoff": 0.01}
    first = load_settings(**plain)
    options = {"now": NOW, "weight_limit": 0, "speed": 0}
    with running_exchange(**options) as exchange, running_exchange(seed=2, **options) as second:
        ports = {"replay_port": exchange.port, "replay_standby_port": second.port}
        settings = load_settings(**plain, **ports, **stocks_given(first), **macro_given(first))
        assert collected_venues(settings) == ("replay", "replay_standby", "massive")
        with Store(postgres_url) as store:
            store.clock.learn("replay", NOW, rate=0.0)
            begin_collecting(store, settings)
            store.macro.choose(choose_series(settings.macro_series))
            asyncio.run(_fill(store, settings))
            stored = Stored.read(store)
            assert stored.reasons == []
            symbols = [one.instrument.symbol for one in store.instruments.list()]
            assert symbols == ["BRK-B", "BTC-USDT", "BTC-USDT@replay_standby", "ETH-USDT", "NVDA", "SOL-USDT"]
            _change_a_wider_bar(store)
            found = rollup_conservation(store, Timeframe.M5, NOW - timedelta(days=2), NOW)
            assert found.offenders.select("instrument", "day").rows() == [("NVDA", NOW.date())]
            minutes = store.reader.read(["NVDA"], Timeframe.M1, NOW - timedelta(days=1), NOW)
            truth = exchange.massive.tape.minutes("NVDA", NOW.date(), NOW.date())
            over = truth.filter(pl.col("t") < int(NOW.replace(second=0).timestamp()) * 1000)
            assert minutes["close"].to_list() == over["c"].to_list()


def _change_a_wider_bar(store: Store) -> None:
    """Of the session; a wider bar of it leaves out what was traded before, which is no difference."""
    (number,) = store.symbols.ids(["NVDA"]).values()
    with store.connections.transaction() as connection:
        connection.execute(
            "UPDATE market.ohlc_data SET volume = volume + 1 WHERE instrument_id = %s AND timeframe = '5m' "
            "AND open_time = %s", [number, NOW.replace(hour=14, minute=30, second=0)],
        )  # fmt: skip


async def _fill(store: Store, settings: Settings) -> None:
    async with Deployment.open(store, settings) as deployment:
        await deployment.sync_instruments()
        for _ in range(2):  # what leaves out silent minutes is asked twice before that counts
            report = await deployment.backfill()
        assert not report.problems
        start, end = NOW - timedelta(days=10), NOW
        for timeframe in Timeframe:
            for outcome in await deployment.verify(timeframe, start, end):
                store.checks.record_result(
                    outcome.name, outcome.timeframe, outcome.passed, outcome.severity, outcome.summary
                )
    await sync_macro(store, settings, store.macro.series())
    record_macro(store, check_macro(store, NOW))
