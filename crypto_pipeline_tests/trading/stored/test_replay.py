"""A replay of trading on a real database: the same again, as it was known, and what it says where there is nothing.

Guards I6 and I11 (docs/invariants.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Timeframe
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.research.models.rows import PredictionRow
from crypto_pipeline.trading.ledger.records import Simulation
from crypto_pipeline.trading.stored.replay import TradingReplay, replay_trading
from crypto_pipeline.trading.stored.scans import scan_span
from crypto_pipeline_tests.builders import models
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.trading_market import FREQUENT, FROM, TIERS, TO, stored_trading_market
from crypto_pipeline_tests.models.stored.test_registry import add

MODEL = models.model()
FRAMES = [one.name for one in fields(Simulation) if one.name != "state"]


@pytest.fixture(scope="module")
def store(new_database: NewDatabase) -> Iterator[Store]:
    with new_database("replayed_in_tests") as url, Store(url) as opened:
        stored_trading_market(opened)
        yield opened


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(label_parameters=FREQUENT)


@pytest.fixture(scope="module")
def replay(store: Store, settings: Settings) -> TradingReplay:
    return replay_trading(store, settings, FROM, TO)


def assert_same(one: Simulation, other: Simulation) -> None:
    for name in FRAMES:
        assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)
    assert one.state == other.state


def test_every_strategy_trades_and_the_ledger_balances(replay: TradingReplay) -> None:
    made = replay.simulation
    assert set(made.trades["strategy"]) == {"dca", "swing", "channel"}
    event = ["strategy", "instrument", "signal_ts", "number", "currency"]
    sums = made.postings.group_by(event).agg(pl.col("amount").sum())["amount"]
    assert (sums == 0).all()
    # cash and what is held are what it began with and what was won
    open_result = sum((trade.result for trade in made.state.open.values()), Decimal(0))
    assert made.equity["equity"][-1] == replay.parameters.capital + replay.book.figures.pnl + open_result
    assert replay.book.figures.trades == made.trades.height


def test_it_finds_the_signals_of_the_scanner(store: Store, settings: Settings, replay: TradingReplay) -> None:
    key = ["strategy", "instrument", "signal_ts", "params_hash"]
    scans = scan_span(store, settings, FROM, TO).filter(pl.col("decision") == "TAKE")
    assert_frame_equal(replay.signals.select(key), scans.select(key))
    # a signal whose next bar is absent is one too: at its close nobody knew
    bars = store.reader.read(list(TIERS), Timeframe.M15, FROM, TO, columns=["instrument", "open_time"])
    entry = (pl.col("signal_ts") + Timeframe.M15.delta).alias("open_time")
    entries = replay.signals.select("instrument", entry).filter(pl.col("open_time") < TO)
    assert entries.join(bars, on=["instrument", "open_time"], how="anti").height


def test_the_same_span_gives_the_same_again(store: Store, settings: Settings, replay: TradingReplay) -> None:
    assert_same(replay_trading(store, settings, FROM, TO).simulation, replay.simulation)


def test_a_shorter_span_is_the_beginning_of_a_longer_one(
    store: Store, settings: Settings, replay: TradingReplay
) -> None:
    middle = FROM + timedelta(days=3, hours=5)
    made = replay_trading(store, settings, FROM, middle).simulation
    for name in ("decisions", "orders", "fills", "postings", "equity"):
        whole = getattr(replay.simulation, name).filter(pl.col("moment") <= middle)
        assert_frame_equal(getattr(made, name), whole, check_exact=True)


def test_a_variant_trades_with_what_it_declares(store: Store, settings: Settings, replay: TradingReplay) -> None:
    quick = replay_trading(store, settings, FROM, TO, variant="quick_exits")
    assert quick.variant == "QUICK_EXITS"
    assert_frame_equal(quick.signals, replay.signals)
    trades = quick.simulation.trades
    assert (trades["exit_ts"] - trades["entry_ts"]).max() <= timedelta(hours=24)
    assert quick.parameters.hash != replay.parameters.hash


def test_only_chosen_instruments(store: Store, settings: Settings, replay: TradingReplay) -> None:
    one = replay_trading(store, settings, FROM, TO, instruments=["PEPE-USDT"])
    chosen = replay.signals.filter(pl.col("instrument") == "PEPE-USDT")
    assert_frame_equal(one.signals, chosen)
    assert set(one.simulation.trades["instrument"]) == {"PEPE-USDT"}


@pytest.mark.parametrize("strategy", list(Strategy))
def test_only_chosen_strategies(store: Store, settings: Settings, replay: TradingReplay, strategy: Strategy) -> None:
    one = replay_trading(store, settings, FROM, TO, strategies=[strategy])
    # with the measures of the chosen strategies only
    chosen = replay.signals.filter(pl.col("strategy") == strategy).select(one.signals.columns)
    assert_frame_equal(one.signals, chosen)
    assert set(one.simulation.trades["strategy"]) == {strategy}


def test_its_journal_and_its_facts(replay: TradingReplay) -> None:
    assert replay.journal().startswith('option "title" "Replay of trading, CHAMPION"')
    assert " balance Assets:Cash  " in replay.journal()
    assert "  Equity:Capital  -10000 USDT" in replay.journal()
    assert replay.book.facts["instruments"].startswith(f"{len(TIERS)}: ")


def test_what_was_known_then(new_database: NewDatabase, settings: Settings) -> None:
    """A bar that is corrected later changes a replay, and leaves that of what was known before as it was."""
    with new_database("replayed_as_of") as url, Store(url) as store:
        stored_trading_market(store)
        before = datetime.now(UTC)
        first = replay_trading(store, settings, FROM, TO)
        trade = first.simulation.trades.row(0, named=True)
        opened = trade["exit_ts"] - Timeframe.M15.delta
        bar = store.reader.read([trade["instrument"]], Timeframe.M15, opened, trade["exit_ts"])
        entry = trade["entry_price"]
        flat = {name: pl.lit(entry) for name in ("open", "high", "low", "close")}
        # a correction of the bar in which the first trade ended: it no longer reaches stop or target
        store.bars.write(bar.with_columns(revision=pl.col("revision") + timedelta(days=1), **flat), Timeframe.M15)
        assert_same(replay_trading(store, settings, FROM, TO, as_of=before).simulation, first.simulation)
        after = replay_trading(store, settings, FROM, TO).simulation.trades.row(0, named=True)
        assert after["exit_ts"] != trade["exit_ts"]


def test_predictions_count_from_when_they_were_made(new_database: NewDatabase) -> None:
    """A signal that its model finds hopeless is rejected by `gate`; as of before the prediction it was not."""
    frequent = load_settings(label_parameters=FREQUENT, ml_mode={"swing": "gate"})
    with new_database("replayed_predictions") as url, Store(url) as store:
        stored_trading_market(store, 8, absent=0)
        until = FROM + timedelta(days=2)
        first = replay_trading(store, frequent, FROM, until)
        taken = first.simulation.decisions.filter("taken", pl.col("strategy") == "swing").row(0, named=True)
        same = [pl.col(name) == taken[name] for name in ("strategy", "instrument", "signal_ts")]
        signal = first.signals.filter(same).row(0, named=True)
        before = datetime.now(UTC)
        known = {name: signal[name] for name in ("strategy", "instrument", "signal_ts", "params_hash")}
        row = PredictionRow(
            **known, model_id=add(store, MODEL), feature_schema_hash=MODEL.feature_schema_hash, live=True,
            ml_mode="gate", decision="skip", size_factor=1.0, inputs=(None,) * len(MODEL.inputs), probability=0.01,
            raw=-4.6, p_star=0.4,
        )  # fmt: skip
        assert store.models.predictions.put([row])
        decided = replay_trading(store, frequent, FROM, until).simulation.decisions
        assert decided.filter(same).select("taken", "limit_name").rows() == [(False, "model")]
        assert_same(replay_trading(store, frequent, FROM, until, as_of=before).simulation, first.simulation)


def test_where_there_is_nothing_it_says_so(postgres_url: str, settings: Settings, store: Store) -> None:
    with Store(postgres_url) as empty, pytest.raises(StoreError, match="no instrument of a tier that is traded"):
        replay_trading(empty, settings, FROM, TO)
    with pytest.raises(StoreError, match="no 15m bar between 2025-01-01"):
        replay_trading(store, settings, datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC))
    with pytest.raises(StoreError, match=r"stored by 2025-06-20 00:00 UTC"):
        replay_trading(store, settings, FROM, TO, as_of=datetime(2025, 6, 20, tzinfo=UTC))
    with pytest.raises(StoreError, match="give an earlier start or a later end"):
        replay_trading(store, settings, FROM, FROM + timedelta(minutes=14))
    with pytest.raises(StoreError, match="there is no variant 'X': use one of CHAMPION"):
        replay_trading(store, settings, FROM, TO, variant="X")
    with pytest.raises(StoreError, match="unknown instrument 'NO-USDT'"):
        replay_trading(store, settings, FROM, TO, instruments=["NO-USDT"])
