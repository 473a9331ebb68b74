"""Facts are read from a real database with planted rows, judged, stored, and open or close alerts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crypto_pipeline.market.gaps.classification import GapState
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.checks.evaluation import Evaluator, judge
from crypto_pipeline.ops.checks.recorded import recorded_states
from crypto_pipeline.ops.checks.states import CheckState
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.connect import connect, with_database
from crypto_pipeline.store.operations.figures import health_facts
from crypto_pipeline_tests.builders.bars import add_symbols, bar, frame
from crypto_pipeline_tests.ops.checks.observations import FAULTS, well


@pytest.fixture
def settings(postgres_url: str, tmp_path: Path) -> Settings:
    return load_settings(database_url=postgres_url, data_dir=tmp_path)


@pytest.fixture
def evaluator(settings: Settings) -> Iterator[Evaluator]:
    made = Evaluator(settings)
    yield made
    made.close()


@pytest.fixture
def connection(postgres_url: str, settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    """A database in which four instruments have had all their bars for a day, up to now."""
    with Store(postgres_url) as store:
        add_symbols(store)
        now = store.clock.now().replace(second=0, microsecond=0)
        newest = now - timedelta(minutes=1)
        store.bars.write(frame([bar(row.instrument.symbol, newest) for row in store.instruments.list()]), Timeframe.M1)
    with connect(postgres_url) as opened:
        opened.execute(
            "INSERT INTO ops.heartbeats (name, holder, started, beat) "
            "VALUES ('ingest-0', 'test', now(), now() + interval '1 hour')"
        )
        opened.execute("UPDATE market.instruments SET added_at = now() - interval '8 days'")
        opened.execute("UPDATE market.coverage SET expected = present + explained")
        opened.execute(
            "INSERT INTO market.coverage (instrument_id, timeframe, day, expected, present) "
            "SELECT instrument_id, '5m', (now() AT TIME ZONE 'UTC')::date - back, 288, 288 "
            "FROM market.instruments CROSS JOIN generate_series(2, 7) AS back"
        )
        yield opened


def look(evaluator: Evaluator) -> dict[str, CheckState]:
    return {state.name: state for state in evaluator.evaluate()}


def bad(states: dict[str, CheckState]) -> set[str]:
    """Names of bad checks; without the disk, which is this machine's."""
    return {name for name, state in states.items() if state.status == "bad" and name != "disk_room"}


def test_what_explains_is_what_the_ledger_explains() -> None:
    assert {str(state) for state in GapState if state.explained} == set(health_facts.EXPLAINED)
    assert {str(state) for state in GapState if not state.explained and str(state) != "healed"} == set(
        health_facts.UNEXPLAINED
    )


def test_planted_rows_turn_their_checks_bad_and_alerts_open_and_close(
    evaluator: Evaluator, connection: psycopg.Connection[Any], postgres_url: str, settings: Settings
) -> None:
    states = look(evaluator)
    assert bad(states) == set()
    assert states["instruments_silent"].status == states["database_writable"].status == "ok"
    plants = {
        "venue_bans": (
            "INSERT INTO ops.venue_budgets (venue, window_limit, window_seconds, share, paused_until) "
            "VALUES ('binance', 6000, 60, 0.9, now() + interval '5 minutes')",
            "UPDATE ops.venue_budgets SET paused_until = NULL",
        ),
        "oldest_gap": (
            "INSERT INTO market.gaps (instrument_id, timeframe, start_time, end_time, bars, state, first_seen) "
            "SELECT instrument_id, '1m', now() - interval '26 hours', now() - interval '25 hours', 60, 'lost', "
            "now() - interval '1 hour' FROM market.instruments WHERE symbol = 'ETH-USDT'",
            "DELETE FROM market.gaps",
        ),
        "coverage_24h": (
            "INSERT INTO market.coverage (instrument_id, timeframe, day, expected, present) "
            "SELECT instrument_id, '5m', (now() AT TIME ZONE 'UTC')::date - 1, 288, 282 FROM market.instruments",
            "UPDATE market.coverage SET expected = present + explained",
        ),
        "instruments_silent": (
            "DELETE FROM market.ohlc_data WHERE instrument_id = (SELECT instrument_id FROM market.instruments "
            "WHERE symbol = 'DOGE-USDT')",
            "INSERT INTO market.gaps (instrument_id, timeframe, start_time, end_time, bars, state) "
            "SELECT instrument_id, '1m', date_trunc('minute', now()) - interval '60 minutes', "
            "date_trunc('minute', now()), 60, 'no_trade' FROM market.instruments WHERE symbol = 'DOGE-USDT'",
        ),
    }
    with Store(postgres_url) as store:
        for check, (fault, repair) in plants.items():
            connection.execute(fault)
            states = look(evaluator)
            assert bad(states) == {check}, check
            assert evaluator.record(list(states.values()))
            assert evaluator.record(list(look(evaluator).values()))
            assert [(row["source"], row["times_seen"]) for row in store.checks.open_alerts().to_dicts()] == [(check, 2)]
            stored = {state.name: state for state in recorded_states(store, settings)}
            assert (stored[check].status, stored[check].threshold) == ("bad", states[check].threshold)
            connection.execute(repair)
            assert evaluator.record(list(look(evaluator).values()))
            assert store.checks.open_alerts().is_empty(), check


@pytest.mark.usefixtures("connection")
def test_the_states_of_every_fault_are_stored_as_they_were_judged(evaluator: Evaluator, postgres_url: str) -> None:
    with Store(postgres_url) as store:
        for fault, (check, plant) in FAULTS.items():
            states = judge(plant(well()))
            assert evaluator.record(states), fault
            stored = {state.name: state for state in recorded_states(store, well().settings)}
            for state in states:
                there = stored[state.name]
                assert (there.status, there.summary, there.figure) == (state.status, state.summary, state.figure), fault
            assert check in store.checks.open_alerts()["source"].to_list(), fault


def test_a_read_only_database_is_seen_and_loses_no_alert(
    evaluator: Evaluator, connection: psycopg.Connection[Any]
) -> None:
    database = connection.info.dbname
    connection.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
    states = look(evaluator)
    assert bad(states) == {"database_writable"}
    assert not evaluator.record(list(states.values()))
    connection.execute(f'ALTER DATABASE "{database}" RESET default_transaction_read_only')
    assert look(evaluator)["database_writable"].status == "ok"
    assert evaluator.record(list(states.values()))


def test_a_database_that_is_cut_off_is_seen_and_found_again(
    evaluator: Evaluator, connection: psycopg.Connection[Any], postgres_url: str
) -> None:
    assert look(evaluator)["database"].status == "ok"
    name = connection.info.dbname
    with connect(with_database(postgres_url, "postgres")) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        states = look(evaluator)
        assert bad(states) == {"database"}
        others = {state.status for check, state in states.items() if check not in ("database", "disk_room")}
        assert others == {"unknown"}
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert look(evaluator)["database"].status == "ok"


def test_results_that_are_too_old_say_nothing_any_more(
    evaluator: Evaluator, connection: psycopg.Connection[Any], postgres_url: str, settings: Settings
) -> None:
    evaluator.record(list(look(evaluator).values()))
    with Store(postgres_url) as store:
        store.checks.record_result("freshness", "1m", True, summary="fine")
        before = {state.label: state.status for state in recorded_states(store, settings)}
        assert (before["database"], before["freshness 1m"], before["freshness 5m"]) == ("ok", "ok", "unknown")
        connection.execute("UPDATE ops.check_results SET checked_at = checked_at - interval '2 minutes'")
        after = {state.label: state.status for state in recorded_states(store, settings)}
        assert (after["database"], after["freshness 1m"]) == ("unknown", "ok")
        connection.execute("UPDATE ops.check_results SET checked_at = checked_at - interval '4 hours'")
        assert {state.status for state in recorded_states(store, settings)} == {"unknown"}
