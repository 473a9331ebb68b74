"""The assets of the account through real runs of Dagster on a real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.trading.account import EQUITY, SIGNALS, TRADES, trading_begun
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.trading.stored.accounts.checks import CHECKS
from crypto_pipeline.trading.stored.scans import ScanPass
from crypto_pipeline_tests.builders.trading_market import FREQUENT, FROM, stored_trading_market

TO = FROM + timedelta(days=2)


@pytest.fixture
def house(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, dg.DagsterInstance]]:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    monkeypatch.setenv("CRYPTO_PIPELINE_LABEL_PARAMETERS", json.dumps(FREQUENT))
    with dg.DagsterInstance.ephemeral() as instance, Store(postgres_url) as store:
        yield store, instance


def materialized(instance: dg.DagsterInstance) -> dict[dg.AssetKey, Any]:
    job = defs().resolve_job_def("book_trades")
    result = job.execute_in_process(instance=instance)
    shown = {
        event.asset_key: {name: one.value for name, one in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }
    checks = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert set(CHECKS) <= set(checks)
    assert all(checks[name].passed for name in CHECKS), checks
    return shown


def test_they_book_what_was_not_booked_and_show_it(house: tuple[Store, dg.DagsterInstance]) -> None:
    store, instance = house
    nothing = materialized(instance)
    assert nothing[EQUITY]["summary"] == "trading begins when bars have been scanned"
    context = dg.build_sensor_context(instance=instance)
    with context:
        assert isinstance(trading_begun(context, database=MarketDatabase()), dg.SkipReason)

    stored_trading_market(store, 7, absent=0)
    store.clock.learn("replay", TO)
    store.trading.scans.begin(FROM)
    ScanPass(load_settings()).run(store, TO + timedelta(seconds=20))
    shown = materialized(instance)
    trades = store.trading.ledger.read("trade_logs", "paper")
    assert trades.height > 10
    assert shown[TRADES]["dagster/row_count"] == trades.height
    assert shown[SIGNALS]["made_now"] == shown[SIGNALS]["dagster/row_count"]
    assert shown[SIGNALS]["taken"] + shown[SIGNALS]["rejected"] == shown[SIGNALS]["dagster/row_count"]
    assert shown[EQUITY]["dagster/row_count"] == 2 * 96
    for asset, chart in ((SIGNALS, "decisions"), (TRADES, "profit"), (TRADES, "newest_trade"), (EQUITY, "curve")):
        assert "data:image/png;base64," in shown[asset][chart]
    assert materialized(instance)[SIGNALS]["made_now"] == 0
    with dg.build_sensor_context(instance=instance) as begun:
        assert isinstance(trading_begun(begun, database=MarketDatabase()), dg.RunRequest)
    with dg.build_sensor_context(instance=instance, cursor=TO.isoformat()) as shown_once:
        assert isinstance(trading_begun(shown_once, database=MarketDatabase()), dg.SkipReason)
