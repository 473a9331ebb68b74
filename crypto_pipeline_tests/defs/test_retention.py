"""Retention through real runs: bars leave, nothing fetches them back, everything can still be read.

Guards I9 (docs/invariants.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline_tests.defs.conftest import Deployed

#: Fifty days of history: of 1m 40 are kept, 15 in the table; of 5m 50, 20 in the table.
SETTINGS = {
    "DAYS": "50",
    "KEEP_HOT_DAYS": json.dumps({"1m": 15, "5m": 20, "15m": 26, "30m": 20, "1h": 20, "4h": 42}),
    "KEEP_DAYS": json.dumps({"1m": 40}),
    "KEEP_MIN_BARS": "100",
}

#: The day decides which months are whole and past their time: a fixed one, which only the exchange's clock shows.
NOW = datetime(2026, 11, 28, 9, 30, tzinfo=UTC)


def test_what_left_is_not_fetched_back(
    deploy: Callable[..., Deployed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATA_DIR", str(tmp_path))
    for name, value in SETTINGS.items():
        monkeypatch.setenv(f"CRYPTO_PIPELINE_{name}", value)
    house = deploy("BTC-USDT", now=NOW)
    store, now = house.store, NOW
    assert house.run("refresh_instruments").success
    assert house.run("fill_gaps").success
    begin, until = now - timedelta(days=50), now - timedelta(hours=1)
    before = {one: store.reader.read(["BTC-USDT"], one, begin, until) for one in Timeframe}
    lacking = store.coverage.summary()["missing"].sum()  # an outage long ago, that needs more attempts to be explained
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    assert before[Timeframe.M1]["open_time"][0] == midnight - timedelta(days=40), "only what is kept is collected"
    assert before[Timeframe.M5]["open_time"][0] <= midnight - timedelta(days=49), "wider bars come in their own width"

    result = house.run("retention")

    assert result.success
    shown = result.get_asset_materialization_events()[0].step_materialization_data.materialization.metadata
    assert shown["archived_rows"].value > 20_000
    assert store.archive.files("bars", Timeframe.M1)
    assert house.run("compaction").success
    filled = house.run("fill_gaps")
    report = [
        event.step_output_data.metadata["report"].data for event in filled.all_events if event.is_successful_output
    ]
    planned = {name: counts["planned"] for name, counts in report[0]["timeframes"].items()}
    assert max(planned.values()) <= 60, "at most what has ended meanwhile"
    for timeframe, bars in before.items():
        again = store.reader.read(["BTC-USDT"], timeframe, begin, until)
        assert again.drop("recorded_at", "revision").equals(bars.drop("recorded_at", "revision")), timeframe
    assert store.coverage.summary()["missing"].sum() <= lacking + 2


def test_a_look_back_that_does_not_fit_is_refused_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from crypto_pipeline.ops.housekeeping.retention import check_look_backs
    from crypto_pipeline.settings import SettingsError, load_settings

    check_look_backs(load_settings())
    monkeypatch.setenv("CRYPTO_PIPELINE_KEEP_TRADES_DAYS", "2")
    with pytest.raises(SettingsError, match="the gap monitor reads 7 days of trades, of which 2 are kept"):
        check_look_backs(load_settings())
