"""Bars from a streaming replica: of a known moment, never younger than true, and from the primary where that is better.

Guards I10: a replica that lags, stops or cancels changes no answer of a reader.
"""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg
import pytest
from starlette.testclient import TestClient

from crypto_pipeline import Reader
from crypto_pipeline.api.app import create_app
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.checks.evaluation import Evaluator
from crypto_pipeline.ops.checks.states import CheckState
from crypto_pipeline.ops.doctor import places
from crypto_pipeline.ops.status import gather
from crypto_pipeline.reading.servers.routed_answers import ReplicaWarning
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store, StoreError, migrate
from crypto_pipeline.store.database.connect import address, ensure_databases
from crypto_pipeline.store.database.errors import DatabaseAwayError
from crypto_pipeline.store.database.pg_errors import explained, is_transient
from crypto_pipeline.store.embedded.server import EmbeddedServer
from crypto_pipeline_tests.builders.bars import START, add_symbols, bar, database_clock, frame, series
from crypto_pipeline_tests.builders.places import server_folder
from crypto_pipeline_tests.builders.standby import Standby, replicated_primary

pytestmark = pytest.mark.own_server
NAME = "replicated"
END = START + timedelta(days=1)


@pytest.fixture(scope="module")
def primary() -> Iterator[EmbeddedServer]:
    folder = server_folder("cp-replica-")
    with replicated_primary(folder) as server:
        ensure_databases(server.url("postgres"), [NAME])
        migrate(server.url(NAME))
        yield server
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def store(primary: EmbeddedServer) -> Iterator[Store]:
    with Store(primary.url(NAME)) as opened:
        add_symbols(opened)
        opened.bars.write(series(count=600), Timeframe.M1)
        yield opened


@pytest.fixture(scope="module")
def standby(primary: EmbeddedServer, store: Store) -> Iterator[Standby]:
    made = Standby(primary, "max_standby_streaming_delay = 0")
    yield made
    made.stop()


@pytest.fixture
def reader(primary: EmbeddedServer, standby: Standby) -> Iterator[Reader]:
    standby.caught_up()
    with Reader(primary.url(NAME), read_url=standby.url(NAME), read_lag=1.0, patience=5.0) as opened:
        yield opened
    standby.resume()


def of_replica(reader: Reader) -> int:
    """Number of reads that the replica answered so far."""
    assert reader._routed is not None
    return reader._routed.answered_by_replica


def first_close(reader: Reader, **options: object) -> float:
    found = reader.bars("BTC-USDT", "1m", START, END, final_only=True, columns=["close"], **options)  # type: ignore[arg-type]
    return float(found["close"][0])


def correct(store: Store, price: float) -> None:
    """Have a better copy replace the first bar."""
    revision = START + timedelta(days=2, seconds=price)
    store.bars.write(frame([bar(price=price, revision=revision, complete=True)]), Timeframe.M1)


def test_the_replica_answers_while_it_follows_and_the_primary_while_it_lags(
    reader: Reader, store: Store, standby: Standby
) -> None:
    before = of_replica(reader)
    correct(store, 200.0)
    standby.caught_up()
    assert first_close(reader) == 200.5
    assert of_replica(reader) == before + 1
    with Store(standby.url(NAME)) as direct:
        assert reader.bars("BTC-USDT", "1m", START, END, columns="all").equals(
            direct.reader.read(["BTC-USDT"], Timeframe.M1, START, END, complete=True)
        )
    standby.pause()
    correct(store, 201.0)
    moment = database_clock(store)
    before = of_replica(reader)
    assert first_close(reader, as_of=moment) == 201.5, "the replica does not know that moment yet"
    deadline = time.monotonic() + 1.2
    while time.monotonic() < deadline:
        found = first_close(reader)
        assert found in (200.5, 201.5)
    assert found == 201.5, "further behind than the limit: the primary answers"
    now = of_replica(reader)
    assert first_close(reader) == 201.5
    assert of_replica(reader) == now > before
    standby.resume()
    standby.caught_up()
    assert first_close(reader, as_of=moment) == 201.5
    assert of_replica(reader) == now + 1


def test_what_is_stored_beside_bars_comes_from_the_replica_too(
    primary: EmbeddedServer, store: Store, standby: Standby
) -> None:
    hole = {"instrument": "ETH-USDT", "timeframe": "1m", "start": START, "end": END, "state": "lost"}
    correct(store, 210.0)
    store.ledger.record(pl.DataFrame([hole | {"evidence": "{}"}]))
    standby.caught_up()
    asks: dict[str, Callable[[Reader], pl.DataFrame]] = {
        "gaps": lambda each: each.gaps(),
        "gaps of a moment": lambda each: each.gaps(as_of=START),
        "coverage": lambda each: each.coverage("BTC-USDT", "1m"),
        "revisions": lambda each: each.revisions("BTC-USDT", "1m", START, END),
        "trades": lambda each: each.trades("BTC-USDT", START, END),
        "actions": lambda each: each.corporate_actions(),
        "features": lambda each: each.features("BTC-USDT", START, END),
        "latest": lambda each: each.latest(columns=["instrument", "close"]),
    }
    # so far behind that its answers do not depend on how fast the last position arrives
    patient = Reader(primary.url(NAME), read_url=standby.url(NAME), read_lag=60.0, patience=5.0)
    with patient as reader, Reader(store.url) as plain:
        while not of_replica(reader):
            reader.gaps()
        for what, ask in asks.items():
            before = of_replica(reader)
            assert ask(reader).equals(ask(plain)), what
            assert of_replica(reader) == before + 1, what
        with pytest.raises(StoreError, match="unknown instrument 'NOPE'"):
            reader.gaps("NOPE")
        before = of_replica(reader)
        reader.gaps()
        assert of_replica(reader) == before + 1, "a wrong name is no fault of the replica"


def test_who_has_written_reads_what_was_written(reader: Reader, store: Store, standby: Standby) -> None:
    cached = reader.cached
    assert cached.await_changes()
    standby.pause()
    correct(store, 220.0)
    assert cached.await_changes()
    before = of_replica(reader)
    assert first_close(reader) == 220.5, "the replica lacks it, though it is not far behind"
    assert of_replica(reader) == before
    standby.resume()
    standby.caught_up()
    while of_replica(reader) == before:
        assert first_close(reader) == 220.5


def test_over_http_rows_of_a_replica_have_its_age(store: Store, standby: Standby, primary: EmbeddedServer) -> None:
    reader = Reader(primary.url(NAME), read_url=standby.url(NAME), read_lag=60.0, patience=5.0)
    with TestClient(create_app(reader)) as client:
        standby.caught_up()
        while not of_replica(reader):
            assert int(client.get("/gaps").headers["age"]) == 0
        standby.pause()
        correct(store, 230.0)
        changed = time.monotonic()
        while time.monotonic() < changed + 1.1:
            time.sleep(0.05)
        told = client.get("/coverage?timeframe=1m")
        assert int(told.headers["age"]) >= 1
        assert datetime.fromisoformat(told.headers["x-as-of"]) <= datetime.now(UTC) - timedelta(seconds=1)
        assert of_replica(reader) >= 2
        standby.resume()


def test_a_replica_that_lags_is_away_or_is_none_is_said(
    store: Store, standby: Standby, primary: EmbeddedServer
) -> None:
    """By the check, which opens an alert, by ``doctor`` and by ``status``."""
    with_replica: dict[str, Any] = {"database_url": store.url, "database_read_url": standby.url(NAME)}
    settings = load_settings(**with_replica, database_read_lag=0.5)
    evaluator = Evaluator(settings)

    def check() -> CheckState:
        (found,) = [state for state in evaluator.evaluate() if state.name == "replica"]
        assert evaluator.record([found])
        return found

    standby.caught_up()
    assert (check().status, places.read_replica(settings).status) == ("ok", "ok")
    assert gather(settings)["database"]["replica"] == {
        "address": address(standby.url(NAME)), "lag_seconds": 0.0, "trouble": None,
    }  # fmt: skip
    standby.pause()
    correct(store, 240.0)
    check()
    paused = time.monotonic()
    correct(store, 241.0)
    while (lagging := check()).status == "ok":
        assert time.monotonic() < paused + 20
    assert lagging.figure is not None
    assert lagging.figure > 0.5
    assert "reads go to the primary" in lagging.summary
    assert [row["source"] for row in store.checks.open_alerts().to_dicts()] == ["replica"]
    assert places.read_replica(settings).status == "note"
    standby.resume()
    standby.caught_up()
    assert check().status == "ok"
    stranger = load_settings(**with_replica | {"database_read_url": store.url})
    assert places.read_replica(stranger).status == "bad"
    nobody = load_settings(**with_replica | {"database_read_url": f"postgresql://x@127.0.0.1:1/{NAME}"})
    assert places.read_replica(nobody).status == "note"
    evaluator.close()


def test_an_answer_of_the_cache_is_never_younger_than_true(reader: Reader, store: Store, standby: Standby) -> None:
    """The age counts from the last moment that the replica is known to contain, and a change that it lacks counts."""
    cached = reader.cached
    assert cached.await_changes()
    correct(store, 300.0)
    standby.caught_up()
    fresh = cached.bars("BTC-USDT", "1m", START, END, columns=["close"])
    assert fresh.value["close"][0] == 300.5
    standby.pause()
    changed = time.monotonic()
    correct(store, 301.0)
    assert cached.await_changes()
    while True:
        answer = cached.bars("BTC-USDT", "1m", START, END, columns=["close"])
        old = time.monotonic() - changed
        if answer.value["close"][0] == 301.5:
            break
        assert answer.value["close"][0] == 300.5
        assert answer.age_s >= old, "what lacks the change is at least as old as the change"
        assert old < 5, "a replica that lags is left out"
    standby.resume()


def test_a_replica_that_cancels_or_ends_and_a_primary_that_is_away(
    primary: EmbeddedServer, store: Store, standby: Standby
) -> None:
    with Reader(primary.url(NAME), read_url=standby.url(NAME), read_lag=1.0, patience=1.0) as reader:
        correct(store, 400.0)
        standby.caught_up()
        assert first_close(reader) == 400.5
        standby.kill()
        correct(store, 401.0)
        before = of_replica(reader)
        assert first_close(reader) == 401.5
        assert of_replica(reader) == before
        standby.start()
        standby.caught_up()
        moment = database_clock(store)
        while of_replica(reader) == before:
            assert first_close(reader) == 401.5
        assert reader._routed is not None
        reader._routed.servers._away_until["primary"] = time.monotonic() + 60  # as after a failed connection
        standby.caught_up()
        time.sleep(1.1)
        with pytest.warns(ReplicaWarning, match="the replica's of"):
            assert first_close(reader) == 401.5
        with warnings.catch_warnings():
            warnings.simplefilter("error", ReplicaWarning)
            late = moment + timedelta(days=1)
            assert first_close(reader, as_of=late) == 401.5, "only the primary may know that moment"


def test_a_read_that_replay_cancels_is_repeated_and_is_not_taken_for_one_that_is_too_long() -> None:
    said = "canceling statement due to conflict with recovery"
    for error in (psycopg.errors.QueryCanceled(said), psycopg.errors.SerializationFailure(said)):
        assert is_transient(error)
        assert isinstance(explained(error, "postgresql://nowhere/x", 1.0), DatabaseAwayError)
    assert not is_transient(psycopg.errors.QueryCanceled("canceling statement due to statement timeout"))
