"""The account as it is shown: its figures agree with the ledger to the last digit, and follow what is booked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.trading.stored.accounts.portfolio import PortfolioReader, stored_journal
from crypto_pipeline.trading.stored.production import PAPER
from crypto_pipeline.trading.stored.replay import TradingReplay, replay_trading
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.trading_market import FREQUENT, FROM, TO, book, stored_trading_market

RESET = "INSERT INTO trading.risk_resets (account, moment, reason, decided_by) VALUES ('paper', %s, 'a test', 'Ann')"


@pytest.fixture(scope="module")
def store(new_database: NewDatabase) -> Iterator[Store]:
    with new_database("portfolio_in_tests") as url, Store(url) as opened:
        stored_trading_market(opened)
        yield opened


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(label_parameters=FREQUENT)


@pytest.fixture(scope="module")
def replay(store: Store, settings: Settings) -> TradingReplay:
    found = replay_trading(store, settings, FROM, TO)
    book(store, found)
    return found


def money(store: Store, query: str) -> Decimal:
    value: Decimal = store.connections.row(query)[0]
    return value


def test_it_agrees_with_the_ledger_to_the_last_digit(store: Store, settings: Settings, replay: TradingReplay) -> None:
    shown = PortfolioReader(store, settings).portfolio()
    postings = "SELECT sum(amount) FROM trading.postings WHERE ledger_account = '{}' AND currency = 'USDT'"
    assert shown["cash"] == money(store, postings.format("cash"))
    assert shown["trades"]["fees"] + _open(store, "fees") == money(store, postings.format("fees"))
    assert shown["trades"]["slippage"] + _open(store, "slippage") == money(store, postings.format("slippage"))
    assert shown["equity"] == shown["cash"] + shown["exposure"]
    assert shown["equity"] == shown["capital"] + shown["realised_pnl"] + shown["unrealised_pnl"]
    for groups in (shown["by_strategy"], shown["by_tier"]):
        assert sum(one["pnl"] for one in groups.values()) == shown["trades"]["pnl"] == replay.book.figures.pnl
    assert shown["figures"] == replay.book.equity_figures.as_dict()  # type: ignore[union-attr]


def _open(store: Store, column: str) -> Decimal:
    return money(store, f"SELECT coalesce(sum({column}), 0) FROM trading.positions")


def test_rows_are_those_of_the_ledger(store: Store, settings: Settings, replay: TradingReplay) -> None:
    reader, made = PortfolioReader(store, settings), replay.simulation
    trades = reader.trades(limit=1000)
    assert len(trades) == made.trades.height
    assert [one["exit_ts"] for one in trades] == sorted((one["exit_ts"] for one in trades), reverse=True)
    assert sum(one["pnl"] for one in trades) == replay.book.figures.pnl
    assert reader.trades(limit=3, offset=2) == trades[2:5]
    one = trades[0]
    only = reader.trades(strategy=one["strategy"], instrument=one["instrument"], start=one["exit_ts"])
    assert one in only
    assert {(row["strategy"], row["instrument"]) for row in only} == {(one["strategy"], one["instrument"])}
    rejected = reader.signals(taken=False, limit=1000)
    assert len(rejected) == made.decisions.height - made.decisions["taken"].sum()
    assert all(row["reason"] and row["threshold"] is not None for row in rejected)
    positions = reader.positions()
    assert positions["as_of"] == TO
    assert len(positions["positions"]) == made.positions.height
    assert all(row["expires"] > TO for row in positions["positions"])


@pytest.mark.parametrize("table", ["signals", "trade_logs", "equity"])
def test_columns_are_what_rows_are(store: Store, replay: TradingReplay, table: str) -> None:
    whole = store.trading.portfolio.rows(table, PAPER, None, TO)
    assert_frame_equal(whole, store.trading.ledger.read(table, PAPER), check_exact=True)
    middle = FROM + timedelta(days=3)
    parts = [store.trading.portfolio.rows(table, PAPER, *span) for span in ((None, middle), (middle, TO))]
    assert_frame_equal(pl.concat(parts), whole, check_exact=True)


def test_the_curve_ends_with_the_last_moment(store: Store, settings: Settings, replay: TradingReplay) -> None:
    curve = PortfolioReader(store, settings).portfolio(points=50)["curve"]
    assert len(curve) <= 50
    assert curve[-1]["moment"] == TO
    assert curve[-1]["equity"] == replay.simulation.equity["equity"][-1]


def test_it_follows_what_is_booked(new_database: NewDatabase, settings: Settings, store: Store) -> None:
    middle = FROM + timedelta(days=3)
    with new_database("portfolio_followed") as url, Store(url) as other:
        stored_trading_market(other)
        reader = PortfolioReader(other, settings)
        empty = reader.portfolio()
        assert (empty["as_of"], empty["equity"], empty["trades"]["trades"]) == (None, Decimal(10_000), 0)
        assert reader.positions() == {"as_of": None, "positions": []}
        assert (reader.trades(), reader.signals()) == ([], [])
        with pytest.raises(StoreError, match="no account 'paper': nothing was traded yet"):
            stored_journal(other)
        book(other, replay_trading(other, settings, FROM, middle))
        half = reader.portfolio()
        assert half["as_of"] == middle
        assert reader.portfolio() == half
        assert PortfolioReader(other, settings).portfolio() == half


def test_its_journal_balances(store: Store, replay: TradingReplay) -> None:
    text = stored_journal(store)
    assert text.startswith('option "title" "account paper"')
    assert "  Equity:Capital  -10000 USDT" in text


def test_a_replay_of_the_account_has_its_resets(store: Store, settings: Settings, replay: TradingReplay) -> None:
    reset = (
        "INSERT INTO trading.risk_resets (account, moment, reason, decided_by) VALUES ('paper', %s, 'a test', 'Ann')"
    )
    moment = FROM + timedelta(days=2)
    store.connections.run(lambda connection: connection.execute(reset, [moment]) and None)
    again = replay_trading(store, settings, FROM, TO).simulation.equity.filter(pl.col("moment") == moment)
    assert again["high_water"].to_list() == again["equity"].to_list()
    before = replay.simulation.equity.filter(pl.col("moment") == moment)
    assert before["high_water"][0] > before["equity"][0]
    later = replay_trading(store, settings, FROM + timedelta(days=1), TO).simulation.equity
    other = later.filter(pl.col("moment") == moment)  # of another account, which nobody has reset
    assert other["high_water"][0] > other["equity"][0]


def test_an_unknown_instrument_is_named(store: Store, settings: Settings, replay: TradingReplay) -> None:
    with pytest.raises(StoreError, match="unknown instrument 'NO-USDT'"):
        PortfolioReader(store, settings).trades(instrument="NO-USDT")
