"""Passes over stored bars: each bar is scanned once and in order, live as in a span, and can be explained.

Guards I6 and I11 (docs/invariants.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from typer.testing import CliRunner

from crypto_pipeline.cli.app import app
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Instrument
from crypto_pipeline.market.instruments import Tier
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.trading.scan_columns import SCAN_SCHEMA
from crypto_pipeline.trading.scanning.scan import conditions_for
from crypto_pipeline.trading.stored.scans import ScanPass, scan_pass, scan_span, traded_parameters
from crypto_pipeline.trading.stored.scans.why import Why, count, explain
from crypto_pipeline.trading.stored.trading_pass import trading_pass
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.label_market import START
from crypto_pipeline_tests.trading.scanning.market import BEGIN, END, QUARTER, ROWS, SETTINGS, store_scanned_market

NAME = "ETH-USDT"
#: Its number.
ID = f"(SELECT instrument_id FROM market.instruments WHERE symbol = '{NAME}')"


@pytest.fixture(scope="module")
def market(new_database: NewDatabase) -> Iterator[Store]:
    with new_database("scanned_market") as url, Store(url) as made:
        store_scanned_market(made)
        yield made


@pytest.fixture(scope="module")
def store(market: Store) -> Store:
    """Scanned to the end, the last seven bars as they closed."""
    live = END - 7 * QUARTER
    first = scan_pass(market, SETTINGS, live)
    assert (first.start, first.until) == (BEGIN, live)
    assert first.takes > 10
    scans = ScanPass(SETTINGS)
    for bar in range(7):
        opened = live + bar * QUARTER
        now = opened + QUARTER + timedelta(seconds=20)
        if bar == 3:
            assert waits_for(market, scans, opened, now) == [NAME]
        step = scans.run(market, now)
        assert (step.start, step.until, step.scans) == (opened, opened + QUARTER, ROWS)
        assert scans.run(market, now).scans == 0
    return market


def waits_for(store: Store, scans: ScanPass, opened: datetime, now: datetime) -> list[str]:
    """Instruments that a pass waits for while a bar that opened then is not complete yet; nothing may be scanned."""
    mark = (
        f"UPDATE market.ohlc_data SET complete = %s WHERE timeframe = '15m' AND open_time = %s AND instrument_id = {ID}"
    )
    with connect(store.url) as connection:
        connection.execute(mark, (False, opened))
        report = scans.run(store, now)
        connection.execute(mark, (True, opened))
    assert report.scans == 0
    return report.waits_for


def stored(store: Store, start: datetime, end: datetime) -> pl.DataFrame:
    return store.trading.scans.read(start, end).select(SCAN_SCHEMA.keys())


def by_key(scans: pl.DataFrame) -> pl.DataFrame:
    return scans.sort("signal_ts", "strategy", "instrument")


def differing(one: pl.DataFrame, other: pl.DataFrame) -> list[str]:
    assert one.height == other.height
    return [name for name in SCAN_SCHEMA if not one[name].equals(other[name], null_equal=True)]


def test_scans_of_a_span_are_those_that_were_made_live(store: Store) -> None:
    span = scan_span(store, SETTINGS, BEGIN, END)
    assert differing(stored(store, BEGIN, END), by_key(span)) == []
    for start in (BEGIN + timedelta(days=3), END - 3 * QUARTER):  # whatever the span begins with
        part = scan_span(store, SETTINGS, start, END)
        assert differing(part, span.filter(pl.col("signal_ts") >= start)) == []
    assert set(span["stress"].drop_nulls()) >= {0}
    alone = scan_span(store, SETTINGS, END - QUARTER, END, instruments=[NAME])
    assert differing(alone, span.filter(pl.col("signal_ts") == END - QUARTER, pl.col("instrument") == NAME)) == []


def test_two_passes_at_once_scan_a_bar_once(store: Store) -> None:
    rows = scan_span(store, SETTINGS, END - QUARTER, END)
    before = store.trading.scans.progress()
    conditions = [conditions_for(*each) for each in traded_parameters(SETTINGS).items()]
    assert not store.trading.scans.put(rows, conditions, END - QUARTER, END)
    assert store.trading.scans.progress() == before
    assert stored(store, END - QUARTER, END).height == ROWS


def test_the_view_has_every_condition_with_its_margin(store: Store) -> None:
    rows = store.connections.rows(
        "SELECT met, margin, value FROM trading.scans WHERE instrument = 'ETH-USDT' AND strategy = 'dca'"
    )
    assert len(rows) > 1000
    for met, margin, value in rows:
        assert met == (value is not None and margin >= 0) or margin == 0


def test_days_are_counted_and_leave_as_a_whole(store: Store) -> None:
    scans = store.trading.scans
    first = BEGIN.date() + timedelta(days=1)
    counted = scans.summarise()
    assert counted == [BEGIN.date() + timedelta(days=number) for number in range((END - BEGIN).days + 1)]
    assert scans.summarise() == []
    rows = stored(store, datetime(first.year, first.month, first.day, tzinfo=BEGIN.tzinfo), END)
    of_day = rows.filter(pl.col("signal_ts").dt.date() == first, pl.col("instrument") == NAME)
    for found in scans.days(first, first + timedelta(days=1)).filter(instrument=NAME).iter_rows(named=True):
        own = of_day.filter(strategy=found["strategy"])
        failed = own["failed"].drop_nulls().to_numpy()
        assert found["scans"] == own.height == 96
        assert found["takes"] == (own["decision"] == "TAKE").sum()
        assert found["near_misses"] == (own["decision"] == "NEAR_MISS").sum()
        assert found["failures"] == [int((failed >> place & 1).sum()) for place in range(len(found["failures"]))]
        assert found["near"] == [int((failed == 1 << place).sum()) for place in range(len(found["near"]))]
    kept = scans.read(END - timedelta(days=1), END)
    assert scans.forget(first, date(2020, 1, 1)) == [BEGIN.date()]
    assert stored(store, BEGIN, BEGIN + 4 * QUARTER).is_empty()
    assert scans.days(BEGIN.date(), first).height == ROWS
    assert scans.read(END - timedelta(days=1), END).equals(kept, null_equal=True)
    assert scans.forget(first, first) == []
    assert scans.days(BEGIN.date(), first).is_empty()


@pytest.mark.parametrize("decision", ["TAKE", "NEAR_MISS", "SKIP"])
def test_every_decision_is_explained(store: Store, decision: str) -> None:
    """Fault 20 (docs: "why is there no trade?" must have an answer)."""
    rows = store.trading.scans.read(END - timedelta(days=4), END, [NAME], decision=decision)
    row = rows.row(-1, named=True)
    (found,) = explain(store, SETTINGS, NAME, row["signal_ts"] + QUARTER, Strategy(row["strategy"]))
    assert (found.decision, found.signal_ts, found.stored) == (decision, row["signal_ts"], True)
    wrong = [step.name for step in found.conditions if not step.met]
    assert len(wrong) == {"TAKE": 0, "NEAR_MISS": 1}.get(decision, len(wrong))
    assert all(name in found.reason for name in wrong)
    for step in found.conditions:
        assert step.meaning
        assert step.met == (
            step.margin is not None and (step.margin > 0 or (step.margin == 0 and "=" in step.comparison))
        )
    assert found.model == (
        "no prediction is stored: the rules alone decide" if decision == "TAKE" else "not asked: there is no setup"
    )
    counts = count(store, NAME, END)[row["strategy"]]
    assert counts.scans > 300
    assert counts.takes + counts.near_misses < counts.scans


def test_of_a_setup_it_is_said_what_risk_decided_and_the_broker_booked(store: Store) -> None:
    day = END - timedelta(days=1)
    (before,) = _setups(store, day, END)[-1:]
    assert before.follow_up.risk == "nothing is decided yet: the paper account has not begun"
    trading_pass(store, SETTINGS)
    found = _setups(store, day, END)
    kinds = {one.follow_up.risk.split()[0] for one in found}
    assert kinds == {"taken:", "rejected"}
    for one in found:
        risk, broker = one.follow_up.risk, one.follow_up.broker
        assert one.follow_up.decision is not None
        if risk.startswith("rejected"):
            limit = one.follow_up.decision["limit_name"]
            assert risk.startswith(f"rejected by {limit}: ")
            assert broker == "nothing was ordered"
        elif broker.startswith("closed"):
            assert one.follow_up.trade is not None
            assert one.follow_up.trade["outcome"] in broker
        else:
            assert broker.startswith(("open: ", "not filled: "))
    first = _setups(store, BEGIN, BEGIN + timedelta(days=2))[0]
    assert first.follow_up.risk.startswith(("taken", "rejected", "not decided: the paper account began"))


def _setups(store: Store, start: datetime, end: datetime) -> list[Why]:
    """Setups of a span, explained."""
    rows = store.trading.scans.read(start, end, decision="TAKE").select("instrument", "signal_ts", "strategy")
    return [
        one
        for name, opened, strategy in rows.iter_rows()
        for one in explain(store, SETTINGS, name, opened + QUARTER, Strategy(strategy))
    ]


def test_what_was_not_scanned_is_judged_now_and_what_cannot_be_is_named(store: Store) -> None:
    early = START + timedelta(hours=5)
    for found in explain(store, SETTINGS, NAME, early):
        assert (found.stored, found.decision, found.conditions) == (False, "SKIP", ())
        assert "fewer than 400 bars" in found.reason
    with pytest.raises(StoreError, match="its bars begin later"):
        explain(store, SETTINGS, NAME, START - timedelta(days=1))
    with pytest.raises(StoreError, match="is to come"):
        explain(store, SETTINGS, NAME, END + timedelta(days=1))
    store.instruments.add([Instrument.crypto("NEW-USDT", Tier.MID)])
    with pytest.raises(StoreError, match="no 15m bars yet"):
        explain(store, SETTINGS, "NEW-USDT")


def test_the_command_says_it_in_words(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", store.url)
    result = CliRunner().invoke(app, ["why", "eth-usdt", "--strategy", "swing"])
    assert result.exit_code == 0, result.output
    head, *lines = result.output.splitlines()
    assert head.startswith("ETH-USDT 2025-06-10 23:45 UTC, swing: ")
    assert sum(line.startswith(("  yes ", "  NO ")) for line in lines) == 8
    assert [line.split(":")[0].strip() for line in lines[-4:-1]] == ["model", "risk", "broker"]
    assert any(line.startswith("  7 days before: ") and "near misses" in line for line in lines)
