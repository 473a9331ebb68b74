"""Materialized views: what they show, that nobody waits for them, that every false row of them is found.

Guards I10 (docs/invariants.md).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_pipeline.market import Timeframe
from crypto_pipeline.store import EmbeddedServer, Store, StoreError
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.database.sessions.pooler import direct_url
from crypto_pipeline.store.views.views import BAR_VIEWS, CATALOG_LOCK, VIEWS
from crypto_pipeline_tests.builders.background import Background
from crypto_pipeline_tests.builders.bars import SYMBOLS, series

MINUTE = timedelta(minutes=1)


def ago(**span: float) -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(**span)


def rows(store: Store, view: str) -> pl.DataFrame:
    return store.connections.frame(f"SELECT * FROM market.{view}").sort(["symbol"])


def execute(store: Store, statement: str) -> None:
    store.connections.run(lambda connection: connection.execute(statement) and None)


def fill(store: Store, hours: int = 30, seed: int = 1, **options: Any) -> None:
    store.bars.write(series(SYMBOLS[:2], hours * 60, ago(hours=hours), seed=seed, **options), Timeframe.M1)
    store.bars.write(series(SYMBOLS[:2], 3, Timeframe.D1.floor(ago(days=2)), Timeframe.D1, seed=seed), Timeframe.D1)


def refresh_all(store: Store) -> None:
    for view in VIEWS:
        store.views.refresh(view)


def differences(store: Store) -> dict[str, int]:
    return {view: store.views.differences(view).height for view in VIEWS}


def test_the_views_show_their_spans_by_name(store: Store) -> None:
    fill(store)
    refresh_all(store)
    today, recent = rows(store, "ohlc_today"), rows(store, "ohlc_recent")
    assert recent.filter(timeframe="1m").height == 2 * 30 * 60
    assert today.filter(timeframe="1m").height in range(2 * 1438, 2 * 1441)
    assert recent.filter(timeframe="1d").height == 6
    assert set(today["source"]) == {"venue_historical"}
    named = store.connections.frame("SELECT * FROM market.ohlc WHERE timeframe = '1m'").sort("symbol", "open_time")
    assert recent.filter(timeframe="1m").sort("symbol", "open_time").select(named.columns).equals(named)
    state = store.views.state()
    assert dict(state.select("name", "rows").iter_rows())["ohlc_recent"] == recent.height
    assert state["age_seconds"].max() < 60
    assert set(state["method"]) == {"swap"}
    assert differences(store) == dict.fromkeys(VIEWS, 0)


def test_the_summary_says_what_the_minutes_say(store: Store) -> None:
    fill(store)
    store.views.refresh("instrument_summary")
    frame = store.connections.frame("SELECT * FROM market.instrument_summary WHERE symbol = 'BTC-USDT'")
    summary = frame.row(0, named=True)
    at = store.views.state().filter(name="instrument_summary")["refreshed_at"][0]
    minutes = store.reader.read(["BTC-USDT"], Timeframe.M1, at - timedelta(hours=26), at)
    day = minutes.filter(pl.col("open_time") >= at - timedelta(hours=24))
    before = minutes.filter(pl.col("open_time") < at - timedelta(hours=24))
    assert summary["last_price"] == day["close"][-1]
    assert summary["change_24h"] == pytest.approx(day["close"][-1] / before["close"][-1] - 1)
    assert (summary["high_24h"], summary["low_24h"]) == (day["high"].max(), day["low"].min())
    assert summary["volume_24h"] == pytest.approx(day["volume"].sum())
    assert summary["bars"] == 30 * 60
    silent = store.connections.frame("SELECT * FROM market.instrument_summary WHERE symbol = 'AAVE-USDT'")
    assert silent["last_price"][0] is None
    assert silent["change_24h"][0] is None


WRITES = st.tuples(st.integers(1, 4), st.integers(0, 25), st.integers(1, 90), st.booleans())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(WRITES, min_size=1, max_size=4), after=st.lists(WRITES, max_size=4))
def test_a_view_is_proven_however_its_tables_move_on(store: Store, before: list[Any], after: list[Any]) -> None:
    from crypto_pipeline_tests.builders.bars import empty_tables

    empty_tables(store)

    def write(writes: list[Any]) -> None:
        for seed, hours, count, revised in writes:
            moved = timedelta(seconds=seed) if revised else timedelta(0)
            bars = series(SYMBOLS[:2], count, ago(hours=hours, minutes=2), seed=seed, revised=moved)
            store.bars.write(bars, Timeframe.M1)

    write(before)
    refresh_all(store)
    write(after)
    assert differences(store) == dict.fromkeys(VIEWS, 0)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE market.ohlc_data SET volume = volume + 1e-9", "never held"),
        ("DELETE FROM market.ohlc_data", "never held"),
        ("UPDATE market.ohlc_data SET open_time = open_time - interval '1 minute'", "lacks"),
    ],
)
def test_a_false_row_is_found(store: Store, statement: str, fault: str) -> None:
    fill(store, hours=2)
    refresh_all(store)
    oldest = "(SELECT min(open_time) FROM market.ohlc_data WHERE timeframe = '1m')"
    number = store.instruments.ids()["BTC-USDT"]
    execute(store, f"{statement} WHERE timeframe = '1m' AND open_time = {oldest} AND instrument_id = {number}")
    for view in BAR_VIEWS:
        found = store.views.differences(view)
        assert set(found["instrument"]) == {"BTC-USDT"}
        assert any(fault in text for text in found["fault"])
    execute(store, "UPDATE market.ohlc_data SET high = high * 2 WHERE timeframe = '1m'")
    assert store.views.differences("instrument_summary").height == 2


class Reader(Background):
    """Reads a view all the time; ``worst`` is its longest wait and ``rows`` the numbers of rows that it saw."""

    def __init__(self, url: str, view: str) -> None:
        self.worst, self.rows, self.error = 0.0, set[int](), ""
        self._url, self._view = url, view
        super().__init__([self._read])

    def _read(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self.stopping.is_set():
                began = time.monotonic()
                row = connection.execute(f"SELECT count(*) FROM market.{self._view}").fetchone()
                self.worst = max(self.worst, time.monotonic() - began)
                self.rows.add(row[0] if row else -1)


def test_readers_see_whole_views_and_do_not_wait(store: Store) -> None:
    fill(store)
    store.views.refresh("ohlc_recent")
    height = rows(store, "ohlc_recent").height
    with Reader(store.url, "ohlc_recent") as reader:
        methods = {store.views.refresh("ohlc_recent").method for _ in range(8)}
    assert reader.rows == {height}
    assert "swap" in methods
    assert reader.worst < 2.0


def test_a_reader_that_stays_is_worked_around(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crypto_pipeline.store.views.views._ATTEMPTS", 2)
    fill(store, hours=1)
    store.views.refresh("ohlc_today")
    with psycopg.connect(store.url) as staying:
        staying.execute("SELECT count(*) FROM market.ohlc_today")
        fill(store, hours=2)
        done = store.views.refresh("ohlc_today")
        assert (done.method, done.because) == ("concurrently", "a reader has been in the way for seconds")
        assert rows(store, "ohlc_today").filter(timeframe="1m").height == 240
        staying.rollback()
    assert store.views.refresh("ohlc_today").method == "swap"
    assert differences(store)["ohlc_today"] == 0


def test_a_transaction_from_before_sees_rows(store: Store) -> None:
    fill(store, hours=1)
    store.views.refresh("ohlc_today")
    with psycopg.connect(store.url) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT 1")
        assert store.views.refresh("ohlc_today").method == "swap"
        assert old.execute("SELECT count(*) FROM market.ohlc_today WHERE timeframe = '1m'").fetchone() == (120,)


def test_what_hangs_on_a_view_is_kept(store: Store, postgres_server: EmbeddedServer) -> None:
    fill(store, hours=1)
    with connect(postgres_server.url("postgres")) as admin:
        admin.execute("CREATE ROLE dashboards_in_tests")
    try:
        execute(store, "GRANT SELECT ON market.ohlc_today TO dashboards_in_tests")
        store.views.refresh("ohlc_today")
        asked = "SELECT has_table_privilege('dashboards_in_tests', 'market.ohlc_today', 'SELECT') AS may"
        assert store.connections.frame(asked)["may"].to_list() == [True]
        comment = "SELECT obj_description('market.ohlc_today'::regclass) AS text"
        assert "last 24 hours" in store.connections.frame(comment)["text"][0]
        for made, drop in (
            ("VIEW market.mine AS SELECT * FROM market.ohlc_today", "VIEW market.mine"),
            ("INDEX mine ON market.ohlc_today (open_time)", "INDEX market.mine"),
        ):
            execute(store, f"CREATE {made}")
            done = store.views.refresh("ohlc_today")
            assert done.method == "concurrently"
            assert "depends on it" in done.because
            execute(store, f"DROP {drop}")
        assert store.views.refresh("ohlc_today").method == "swap"
    finally:
        execute(store, "REVOKE ALL ON market.ohlc_today FROM dashboards_in_tests")
        with connect(postgres_server.url("postgres")) as admin:
            admin.execute("DROP ROLE dashboards_in_tests")


def test_leftovers_of_a_kill_are_cleared_and_a_backup_keeps_names(store: Store) -> None:
    execute(store, "CREATE MATERIALIZED VIEW market.ohlc_today_fresh AS SELECT 1 AS one")
    with psycopg.connect(direct_url(store.url), autocommit=True) as backup:
        backup.execute("SELECT pg_advisory_lock(%s, %s)", CATALOG_LOCK)
        assert store.views.refresh("ohlc_today").because == "a backup is reading the catalog"
    assert store.views.refresh("ohlc_today").method == "swap"
    left = "SELECT relname FROM pg_class WHERE relkind = 'm' AND relnamespace = 'market'::regnamespace"
    assert set(store.connections.frame(left)["relname"]) == set(VIEWS)


def test_unknown_views_are_refused(store: Store) -> None:
    for call in (store.views.refresh, store.views.differences):
        with pytest.raises(StoreError, match=r"'ohlc_tomorrow'.*ohlc_today"):
            call("ohlc_tomorrow")
