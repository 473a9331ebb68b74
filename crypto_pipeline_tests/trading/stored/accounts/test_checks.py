"""Checks of the account: they pass on what was traded, and each finds what it is there for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from crypto_pipeline.labels.stored.update import bring_up_to_date
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.trading.stored.accounts.checks import CHECKS, check_account
from crypto_pipeline.trading.stored.production import PAPER
from crypto_pipeline.trading.stored.scans import ScanPass, traded_parameters
from crypto_pipeline.trading.stored.trading_pass import trading_pass
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.trading_market import FROM, QUICK, stored_trading_market

DAYS = 7
TO = FROM + timedelta(days=DAYS - 5)
#: What is changed, what takes it back, the check that finds it, and what it says.
FAULTS = {
    "a profit that the ledger does not have": (
        "UPDATE trading.trade_logs SET pnl = pnl + 1", "UPDATE trading.trade_logs SET pnl = pnl - 1",
        "books_balance", "equity: equity, start and results",
    ),
    "fees in part": (
        "UPDATE trading.trade_logs SET fees = fees - 0.000000000000000001",
        "UPDATE trading.trade_logs SET fees = fees + 0.000000000000000001",
        "books_balance", "fees: trades and positions, postings",
    ),
    "a closed trade that is not told": (
        "UPDATE trading.trade_logs SET superseded_at = now()", "UPDATE trading.trade_logs SET superseded_at = NULL",
        "takes_followed_up", "neither open, nor closed, nor cancelled",
    ),
    "a setup without a decision": (
        """UPDATE trading.scan_history SET decision = 'TAKE', metadata = '{"planted": 1}'
           WHERE decision = 'SKIP' AND signal_ts = (SELECT max(signal_ts) FROM trading.scan_history)""",
        """UPDATE trading.scan_history SET decision = 'SKIP', metadata = NULL
           WHERE metadata::text = '{"planted": 1}'""",
        "takes_followed_up", "no decision",
    ),
    "another return than the label's": (
        "UPDATE trading.trade_logs SET exit_ts = exit_ts + interval '15 minutes'",
        "UPDATE trading.trade_logs SET exit_ts = exit_ts - interval '15 minutes'",
        "broker_equals_label", "trades are not their labels",
    ),
    "more in a position than was bought": (
        "UPDATE trading.positions SET units = units + 1", "UPDATE trading.positions SET units = units - 1",
        "positions_equal_venue", "held differently than their fills say",
    ),
    "a venue that has something else": (
        "INSERT INTO trading.reconciliations (broker, passed, differences) VALUES ('ccxt', false, '{BTC: 1, not 2}')",
        "DELETE FROM trading.reconciliations",
        "positions_equal_venue", "ccxt has something else than the ledger: BTC: 1",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(label_parameters=QUICK)


@pytest.fixture(scope="module")
def store(new_database: NewDatabase, settings: Settings) -> Iterator[Store]:
    """An account that has traded, with the labels of its signals."""
    with new_database("checked_accounts") as url, Store(url) as made:
        stored_trading_market(made, DAYS, absent=0)
        made.clock.learn("replay", TO)
        made.trading.scans.begin(FROM)
        ScanPass(settings).run(made, TO + timedelta(seconds=20))
        assert trading_pass(made, settings).moment == TO
        for strategy, parameters in traded_parameters(settings).items():
            bring_up_to_date(made, strategy, parameters, FROM, TO, now=TO)
        yield made


@pytest.mark.parametrize("name", CHECKS)
def test_what_was_traded_passes(store: Store, name: str) -> None:
    outcome = check_account(store, name, PAPER)
    assert outcome.passed, outcome.summary
    assert outcome.offenders.is_empty()
    assert outcome.figures.get("compared", 1) > 0


@pytest.mark.parametrize("fault", FAULTS)
def test_each_finds_its_faults(store: Store, fault: str) -> None:
    change, undo, name, words = FAULTS[fault]
    store.connections.run(lambda connection: connection.execute(change) and None)
    outcome = check_account(store, name, PAPER)
    store.connections.run(lambda connection: connection.execute(undo) and None)
    assert not outcome.passed
    assert words in outcome.summary
    assert outcome.offenders.height
    assert check_account(store, name, PAPER).passed


@pytest.mark.parametrize("name", CHECKS)
def test_without_an_account_nothing_is_wrong(postgres_url: str, name: str) -> None:
    with Store(postgres_url) as empty:
        outcome = check_account(empty, name, PAPER)
    assert outcome.passed
