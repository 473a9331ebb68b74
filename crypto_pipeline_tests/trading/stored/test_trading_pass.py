"""The pass that trades, on a real database: once, in order, as a replay has it, and corrected where bars are healed.

Guards I6, I7 and I11 (docs/invariants.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.market import Timeframe
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.trading.ledger import LedgerRows
from crypto_pipeline.store.trading.ledger_columns import LEDGER_TABLES, REOPENED_SCHEMA, RISK_CHANGE_SCHEMA
from crypto_pipeline.trading.brokers.client_ids import client_order_id
from crypto_pipeline.trading.brokers.port import BrokerError, BrokerOrder, OrderRejected
from crypto_pipeline.trading.ledger.records import Simulation
from crypto_pipeline.trading.stored.account_state import stored_state
from crypto_pipeline.trading.stored.intake import hand_over, handover_of
from crypto_pipeline.trading.stored.paper_broker import PaperBroker
from crypto_pipeline.trading.stored.production import PAPER
from crypto_pipeline.trading.stored.replay import replay_trading
from crypto_pipeline.trading.stored.risk_report import risk_report
from crypto_pipeline.trading.stored.scans import ScanPass
from crypto_pipeline.trading.stored.trading_pass import trading_pass
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.trading_market import FREQUENT, FROM, TO, stored_trading_market
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]

QUARTER = Timeframe.M15.delta
BAR_BY_BAR = 6 * QUARTER
#: Table of the ledger by frame of a simulation.
TABLES = {
    "orders": "orders", "fills": "fills", "postings": "postings", "trade_logs": "trades", "equity": "equity",
    "positions": "positions", "signals": "decisions",
}  # fmt: skip


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(label_parameters=FREQUENT, scan_deadline_seconds=0)


@pytest.fixture(scope="module")
def store(new_database: NewDatabase, settings: Settings) -> Iterator[Store]:
    """All but the last hours are traded in one pass, those bar by bar."""
    with new_database("traded_in_tests") as url, Store(url) as made:
        stored_trading_market(made)
        made.clock.learn("replay", TO)
        scans = ScanPass(settings)
        made.trading.scans.begin(FROM)
        _scan(made, scans, TO - BAR_BY_BAR)
        assert trading_pass(made, settings).moment == TO - BAR_BY_BAR
        now = TO - BAR_BY_BAR
        while now < TO:
            now += QUARTER
            _scan(made, scans, now)
            assert trading_pass(made, settings).moments == 1
            assert trading_pass(made, settings).moments == 0
        yield made


def _scan(store: Store, scans: ScanPass, now: datetime) -> None:
    """The first look waits for bars that are absent, the second one does without them."""
    for second in (20, 40):
        scans.run(store, now + timedelta(seconds=second))
    progress = store.trading.scans.progress()
    assert progress is not None
    assert progress.scanned_until == now


def stored(store: Store, table: str) -> pl.DataFrame:
    return store.trading.ledger.read(table, PAPER)


def assert_as_replayed(store: Store, made: Simulation) -> None:
    """The ledger has the rows of a simulation, beside the capital that it began with."""
    for table, name in TABLES.items():
        expected: pl.DataFrame = getattr(made, name)
        found = stored(store, table).select(expected.columns)
        if table == "postings":
            found = found.filter(pl.col("strategy").is_not_null())
        by = [name for name in _SORT if name in expected.columns]
        assert expected.height or table == "positions"
        assert_frame_equal(found.sort(by), expected.sort(by), check_exact=True)


_SORT = ["moment", "exit_ts", "strategy", "instrument", "signal_ts", "number", "order_number", "event", "account",
         "currency"]  # fmt: skip


def test_a_pass_books_what_a_replay_does(store: Store, settings: Settings) -> None:
    account = store.trading.ledger.account(PAPER)
    assert account is not None
    assert (account.moment, account.capital) == (TO, Decimal(10_000))
    replay = replay_trading(store, settings, account.began, TO)
    assert_as_replayed(store, replay.simulation)
    assert replay.simulation.trades.height > 20
    assert stored_state(store, account) == replay.simulation.state
    assert replay.simulation.decisions["taken"].sum() < replay.simulation.decisions.height
    inputs = [name for name in replay.signals.columns if name in LEDGER_TABLES["signals"]]
    by = ["signal_ts", "strategy", "instrument"]
    assert_frame_equal(stored(store, "signals").select(inputs).sort(by), replay.signals.select(inputs).sort(by))


def test_rows_of_the_ledger_never_change_and_balance(store: Store) -> None:
    sums = stored(store, "postings").group_by("strategy", "instrument", "signal_ts", "number", "currency")
    assert (sums.agg(pl.col("amount").sum())["amount"] == 0).all()

    with connect(store.url) as connection:
        with pytest.raises(psycopg.Error, match="never change"):
            connection.execute("UPDATE trading.postings SET amount = amount + 1 WHERE ledger_account = 'cash'")
        with pytest.raises(psycopg.Error, match="do not sum to zero"):
            connection.execute(
                "INSERT INTO trading.postings (account, number, moment, ledger_account, currency, amount) "
                "VALUES ('paper', 99, now(), 'cash', 'USDT', 0.000000000000000001)"
            )


def test_of_two_passes_one_books(store: Store, settings: Settings) -> None:
    ledger = store.trading.ledger
    account = ledger.account(PAPER)
    assert account is not None
    empty = LedgerRows(
        **{name: pl.DataFrame(schema=LEDGER_TABLES[name])
           for name in LEDGER_TABLES},
        reopened=pl.DataFrame(schema=REOPENED_SCHEMA), risk_changes=pl.DataFrame(schema=RISK_CHANGE_SCHEMA),
    )  # fmt: skip
    before = stored(store, "positions")
    assert not ledger.advance(PAPER, TO - QUARTER, TO, account.parameters_hash, empty, 0)
    assert stored(store, "positions").equals(before)
    trading_pass(store, settings)
    assert ledger.account(PAPER) == account


def test_limits_are_told_and_a_person_resets_them(run: Run, store: Store, settings: Settings) -> None:
    report = risk_report(store, settings)
    assert report.moment == TO
    named = [limit.limit for limit in report.limits if limit.instrument is None]
    assert named == ["drawdown_reset", "drawdown_halt", "weekly_loss", "daily_loss", "max_open", "max_exposure",
                     "max_open_risk"]  # fmt: skip
    held = stored(store, "positions")
    assert next(limit for limit in report.limits if limit.limit == "max_open").used == held.height
    code, out, _ = run("risk", DATABASE_URL=store.url)
    assert code == 0
    assert f"{report.state}" in out
    assert "max_open_risk" in out
    code, out, _ = run("risk", "--json", DATABASE_URL=store.url)
    assert json.loads(out)["limits"][0]["allowed"] == 0.2
    assert run("risk", "reset", "--reason", " ", DATABASE_URL=store.url)[0] == 1
    code, out, _ = run("risk", "reset", "--reason", "a mistake of ours", "--person", "Ada", DATABASE_URL=store.url)
    assert code == 0
    assert f"{TO + QUARTER:%H:%M}" in out
    assert store.trading.ledger.resets(PAPER, TO) == [TO + QUARTER]


def test_a_bar_that_is_healed_under_a_trade_is_reversed_and_booked_anew(store: Store, settings: Settings) -> None:
    """The last test of this store: it trades one bar more."""
    before, trades = stored(store, "postings"), stored(store, "trade_logs")
    won = trades.filter((pl.col("outcome") == "TP") & (pl.col("exit_ts") > TO - timedelta(days=2))).row(0, named=True)
    bars = store.reader.read([won["instrument"]], Timeframe.M15, won["exit_ts"] - QUARTER, won["exit_ts"])
    price = won["entry_price"]
    healed = bars.with_columns(
        *(pl.lit(price).alias(name) for name in ("open", "high", "low", "close")),
        source=pl.lit("reconciled"), revision=pl.col("revision") + timedelta(days=1),
    )  # fmt: skip
    store.bars.write(healed, Timeframe.M15)
    store.clock.learn("replay", TO + QUARTER)
    _scan(store, ScanPass(settings), TO + QUARTER)
    report = trading_pass(store, settings)
    assert (report.moments, report.corrected) == (1, 1)
    key = pl.all_horizontal(pl.col(name) == won[name] for name in ("strategy", "instrument", "signal_ts"))
    fills = stored(store, "fills").filter(key)
    taken_back = fills.filter(pl.col("reverses").is_not_null())
    assert taken_back["units"][-1] == won["units"]
    assert (taken_back["moment"] == TO + QUARTER).all()
    now = stored(store, "trade_logs").filter(key)
    open_now = stored(store, "positions").filter(key)
    assert now.height + open_now.height == 1
    assert {*now["revision"], *open_now["revision"]} == {1}
    # the old postings stay, and the books balance
    postings = stored(store, "postings")
    assert postings.join(before, on=before.columns, how="semi", nulls_equal=True).height == before.height
    cash = postings.filter(pl.col("account") == "cash")["amount"].sum()
    assert cash == stored(store, "equity")["cash"][-1]
    assert trading_pass(store, settings).corrected == 0
    reset = stored(store, "equity").filter(pl.col("moment") == TO + QUARTER).row(0, named=True)
    assert reset["high_water"] == reset["equity"]  # the reset of the test before holds from here on


def test_what_was_taken_is_handed_to_a_broker_as_it_was_decided_and_once(store: Store) -> None:
    taken = stored(store, "signals").filter("taken")
    assert set(taken["orders"].to_list()) > {1}, "a grid is among them"
    for row in taken.iter_rows(named=True):
        made = handover_of(store, "broker", row)
        assert (made.stop_price, len(made.entries)) == (Decimal(str(row["planned_stop"])), row["orders"])
        assert [one["kind"] for one in made.entries] == ["market"] + ["limit"] * (row["orders"] - 1)
        prices = [Decimal(str(one["price"] or row["decision_price"])) for one in made.entries]
        spent = [Decimal(one["quantity"]) * price for one, price in zip(made.entries, prices, strict=True)]
        assert max(abs(one - row["order_sum"]) for one in spent) < Decimal("1e-9")
        average = len(prices) / sum(1 / price for price in prices)
        target = made.target_price or average * made.target_factor  # type: ignore[operator]
        assert float(target) == pytest.approx(row["planned_target"], rel=1e-9)
        assert made.enter_until == row["moment"] + QUARTER < made.exit_at
    moment = taken["moment"].max()
    assert isinstance(moment, datetime)
    newest = taken.filter(pl.col("moment") == moment).height
    assert [hand_over(store, "broker", moment + timedelta(minutes=14)) for _ in range(2)] == [newest, 0]
    assert hand_over(store, "broker", moment + timedelta(minutes=16)) == 0


def test_the_paper_account_says_in_the_words_of_the_port_what_its_ledger_booked(store: Store) -> None:
    broker = PaperBroker(store)
    trade = stored(store, "trade_logs").filter(pl.col("orders_filled") > 1).row(0, named=True)
    ids = [client_order_id("paper", *(trade[name] for name in ("strategy", "instrument", "signal_ts")), "entry", number)
           for number in range(trade["orders_filled"])]  # fmt: skip
    orders = [BrokerOrder(name, trade["instrument"], "buy", "limit", Decimal(1)) for name in ids]
    assert [broker.submit(one).state for one in orders] == ["filled"] * len(ids)
    fills = [fill for one in orders for fill in broker.fills(one)]
    spent = sum(fill.quantity * fill.price + fill.fee for fill in fills)
    assert abs(spent - trade["paid"]) < Decimal("1e-15"), "the ledger rounds what it pays to 18 places"
    assert sum(fill.quantity for fill in fills) == trade["units"]
    equity, balances = stored(store, "equity").row(-1, named=True), broker.balances()
    assert balances["USDT"] == equity["cash"]
    held = {name for name, amount in balances.items() if amount and name != "USDT"}
    positions = stored(store, "positions").filter(pl.col("units") != 0)
    assert held == {name.partition("-")[0] for name in positions["instrument"]}
    with pytest.raises(OrderRejected, match="places its orders itself"):
        broker.submit(replace(orders[0], client_id="cpother"))
    with pytest.raises(BrokerError, match="cannot be cancelled"):
        broker.cancel(orders[0])
