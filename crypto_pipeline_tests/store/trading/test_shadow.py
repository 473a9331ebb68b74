"""Shadow variants in the database: ledgers are replaced as a whole, tests and changes stay as they were stored."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import psycopg
import pytest

from crypto_pipeline.market import Instrument
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.trading.shadow import ShadowChange, ShadowTest, VariantLedger
from crypto_pipeline.trading.ledger.rows import DECISION_SCHEMA
from crypto_pipeline_tests.builders import trading_books as books

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OUTCOMES = {"strategy": pl.String(), "day": pl.Date(), "net": pl.Float64(), "trades": pl.Int32()}


def ledger(*trades: books.Row, hash_: str = "a" * 16, net: float = 0.01) -> VariantLedger:
    """A ledger of one variant with these trades, each taken."""
    size = {"size": Decimal("1000.000000000000000001"), "taken": True}
    decided = [
        {name: {**each, **size, "moment": each["entry_ts"]}.get(name) for name in DECISION_SCHEMA} for each in trades
    ]
    return VariantLedger(
        "TRAILING", hash_, "A stop that follows.", {"trailing": True}, {"trailing": True},
        pl.DataFrame(decided, schema=DECISION_SCHEMA),
        books.trades(*(each | {"size": size["size"], "received": each["received"]} for each in trades)),
        pl.DataFrame([("swing", date(2026, 3, 1), net, len(trades))], schema=OUTCOMES, orient="row"),
    )  # fmt: skip


def shadow_test(day: int = 30, **recommended: str) -> ShadowTest:
    return ShadowTest(NOW, date(2026, 4, 1), date(2026, 4, day), 7, "a" * 16, {"swing": [{"p": 0.5}]}, recommended)


@pytest.fixture
def traded(store: Store) -> Store:
    store.instruments.add([Instrument.crypto("BTC-USDT", "large")])
    return store


def count(store: Store, table: str) -> int:
    (found,) = store.connections.row(f"SELECT count(*) FROM trading.{table}")
    return int(found)


def test_a_ledger_is_replaced_by_the_next_with_the_same_parameters(traded: Store) -> None:
    first, second = books.trade(1, "12.5"), books.trade(9, "-3.000000000000000001")
    shadow = traded.trading.shadow
    for made in (ledger(first, second), ledger(first, second), ledger(second, net=0.02)):
        shadow.put(made)
    shadow.put(ledger(first, hash_="b" * 16))
    tables = ("shadow_variations", "shadow_testing_scans", "shadow_testing_trades", "shadow_outcomes")
    assert [count(traded, table) for table in tables] == [2, 2, 2, 2]
    found = shadow.outcomes({"TRAILING": "a" * 16, "CHAMPION": "b" * 16})
    assert found.rows() == [("TRAILING", "swing", date(2026, 3, 1), 0.02, 1)]
    exact = "SELECT s.size, pnl FROM trading.shadow_testing_scans s JOIN trading.shadow_testing_trades t USING " \
            "(variation, parameters_hash, strategy, instrument_id, signal_ts) WHERE parameters_hash = %s"  # fmt: skip
    assert traded.connections.row(exact, ["a" * 16]) == (
        Decimal("1000.000000000000000001"), Decimal("-3.000000000000000001"),
    )  # fmt: skip


def test_a_test_is_stored_once_for_its_last_day(traded: Store) -> None:
    shadow = traded.trading.shadow
    first = shadow.add_test(shadow_test(swing="TRAILING"))
    again, later = shadow.add_test(shadow_test(swing="DCA_3")), shadow.add_test(shadow_test(day=29))
    assert first.test_id is not None
    assert (again, dict(first.recommended), dict(first.figures)) == (
        first,
        {"swing": "TRAILING"},
        {"swing": [{"p": 0.5}]},
    )
    assert [each.last_day.day for each in shadow.tests()] == [30, 29]
    assert later.test_id != first.test_id


def test_a_change_needs_a_name_and_a_reason_and_the_newest_is_in_force(traded: Store) -> None:
    shadow = traded.trading.shadow

    def change(variation: str, reason: str = "seen", person: str = "Ann") -> None:
        shadow.change(ShadowChange(NOW, "swing", variation, {"trailing": True}, person, reason))

    change("TRAILING")
    change("CHAMPION")
    assert {name: each.variation for name, each in shadow.in_force().items()} == {"swing": "CHAMPION"}
    assert [each.variation for each in shadow.changes()] == ["CHAMPION", "TRAILING"]
    for reason, person in (("", "Ann"), ("seen", "  ")):
        with pytest.raises(StoreError, match="needs a reason and the name"):
            change("TRAILING", reason, person)


def test_a_trade_whose_sums_disagree_is_refused_and_nothing_is_changed(traded: Store) -> None:
    shadow, wrong = traded.trading.shadow, books.trade(3, "5") | {"pnl": Decimal(6)}
    before = count(traded, "shadow_testing_scans")
    with pytest.raises((StoreError, psycopg.Error)):
        shadow.put(ledger(wrong))
    assert count(traded, "shadow_testing_scans") == before
