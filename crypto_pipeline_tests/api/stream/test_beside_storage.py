"""The stream and the database: what is stored does not depend on who follows, and nothing is lost in a break.

Guards I8 (docs/invariants.md).
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest

from crypto_pipeline import Reader
from crypto_pipeline.api.stream import hub, session
from crypto_pipeline.api.stream.sources.alerts import AlertChannels
from crypto_pipeline.api.stream.sources.forecasts import ForecastChannels
from crypto_pipeline.api.stream.sources.trading import TradingChannels
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.embedded.server import EmbeddedServer
from crypto_pipeline.store.operations.check_states import NewState, write_states
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.api.stream.clients import DESCRIBED, Client, client, shake_hands
from crypto_pipeline_tests.api.stream.test_stream import MINUTE, price
from crypto_pipeline_tests.builders.bars import START, add_symbols, bar, frame, series
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.paper_account import PaperAccount

BARS, PRICES = "bars/ETH-USDT/1m", "prices"
#: 600 bars of one day: the channel of bars keeps those from minute 100 on.
DAY = START + timedelta(days=1)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hearts beat fast, and nothing waits for company."""
    for owner, name, seconds in (
        (hub, "HEARTBEAT", 0.1), (hub, "HEARING", 0.6), (hub, "_AGAIN", 0.1), (session, "_AGAIN", 0.1),
        (TradingChannels, "pause", 0.05), (AlertChannels, "pause", 0.05), (ForecastChannels, "pause", 0.05),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, seconds)


def alert(store: Store, name: str, status: str, summary: str = "") -> None:
    store.connections.run(write_states, [NewState(name, status, "warning", summary)])


def sessions(server: EmbeddedServer, name: str) -> list[int]:
    with connect(server.url("postgres")) as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", [name]).fetchall()
        return [pid for (pid,) in rows]


@contextmanager
def away(server: EmbeddedServer, name: str, spared: list[int]) -> Iterator[None]:
    """Nobody reaches the database ``name`` but the sessions that are spared."""
    with connect(server.url("postgres"), autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            for pid in set(sessions(server, name)) - set(spared):
                admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            yield
        finally:
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def await_heartbeat(one: Client, database: str) -> None:
    """Read until a heartbeat says so; nothing else comes before."""
    for _ in range(100):
        said = json.loads(one.socket.recv(timeout=10))
        DESCRIBED.validate(said)
        assert said["type"] == "heartbeat"
        if said["database"] == database:
            return
    raise AssertionError(f"the database is not {database}")


@pytest.mark.own_server
def test_the_database_goes_away_and_comes_back(new_database: NewDatabase, postgres_server: EmbeddedServer) -> None:
    name = "away_from_stream"
    with new_database(name) as url, Store(url) as store, ExitStack() as stack:
        add_symbols(store)
        store.bars.write(series(("ETH-USDT",), count=600, start=DAY), Timeframe.M1)
        store.live.flush("replay", prices=[price("BTC-USDT", 1.0, unix_ms(START))])
        alert(store, "ends", "bad")
        account = PaperAccount(store)
        spared = sessions(postgres_server, name)
        served = stack.enter_context(Served(Reader(url, patience=0.3), load_settings()))
        one = stack.enter_context(client(served.port))
        left = {name: one.subscribe(name) for name in (BARS, PRICES, "alerts", "signals", "trades")}
        with away(postgres_server, name, spared):
            await_heartbeat(one, "away")
            store.live.flush("replay", prices=[price("BTC-USDT", 2.0, unix_ms(START))])
            healed = bar("ETH-USDT", DAY + 10 * MINUTE, price=77.0, revision=DAY + timedelta(days=1))
            store.bars.write(frame([healed, bar("ETH-USDT", DAY + 600 * MINUTE)]), Timeframe.M1)
            alert(store, "ends", "ok")
            alert(store, "begins", "bad")
            decided = account.decided(START)
            account.book(signals=[decided], positions=[decided])
            store.instruments.add([Instrument.crypto(name) for name in ("SOL-USDT", "XRP-USDT")])
            asked = ["forecasts/SOL-USDT", "forecasts/XRP-USDT"]
            one.send(op="subscribe", channels=[{"channel": channel} for channel in asked])
            one.send(op="unsubscribe", channels=asked[:1])
            for _ in range(4):  # longer than the server looks for two channels
                await_heartbeat(one, "away")
        frames = [one.next() for _ in range(7)]
        told = {(frame["type"], frame["channel"]): frame for frame in frames}
        assert ("snapshot", asked[1]) in told, "who asks meanwhile is answered later"
        assert ("snapshot", asked[0]) not in told, "who thinks better of it is not"
        for channel, snapshot in left.items():
            assert told["delta", channel]["seq"] == snapshot["seq"] + 1, "the sequence goes on"
        rows = {channel: told["delta", channel]["rows"] for channel in left}
        assert [row["price"] for row in rows[PRICES]] == [2.0]
        assert [row["open_time"] for row in rows[BARS]] == [unix_ms(DAY + 600 * MINUTE)]
        assert {row["source"]: row["resolved_at"] is None for row in rows["alerts"]} == {"ends": False, "begins": True}
        assert [(row["instrument"], row["accepted"]) for row in rows["signals"]] == [("BTC-USDT", True)]
        assert [row["state"] for row in rows["trades"]] == ["open"]
        # before the newest bars: read again, with the day's part in which the healed one lies
        ((begin, end),) = told["changed", BARS]["spans"]
        assert begin <= unix_ms(DAY + 10 * MINUTE) < unix_ms(DAY + 11 * MINUTE) <= end
        await_heartbeat(one, "ok")
        store.live.flush("replay", prices=[price("BTC-USDT", 3.0, unix_ms(START))])
        assert [row["price"] for row in one.next()["rows"]] == [3.0]


#: Moments of storing; all else is held to be equal.
_WHEN = [
    "recorded_at", "stored_at", "made_at", "created_at", "updated_at", "opened_at", "resolved_at", "first_seen",
    "last_seen", "checked_at", "since", "seen_at", "superseded_at", "added_at",
]  # fmt: skip
_TABLES = """
SELECT quote_ident(schemaname) || '.' || quote_ident(relname) FROM pg_stat_user_tables
WHERE schemaname IN ('market', 'trading', 'research', 'ops') ORDER BY 1
"""


def all_that_is_stored(store: Store) -> dict[str, list[Any]]:
    """Rows of every table, without the moments at which they were stored; tables without rows are left out."""

    def rows(table: str) -> list[Any]:
        text = f'SELECT to_jsonb(t) - %s::text[] FROM {table} t ORDER BY to_jsonb(t)::text COLLATE "C"'
        return store.connections.rows(text, [_WHEN])

    return {table: found for (table,) in store.connections.rows(_TABLES, []) if (found := rows(table))}


def write_everything(store: Store) -> None:
    """Some minutes of a deployment: trades and prices, bars and a better copy, alerts, a trade of the paper account."""
    account = PaperAccount(store)
    decided = account.decided(START)
    for number in range(5):
        at = unix_ms(DAY) + 10_000 * number
        trades = [LiveTrade("BTC-USDT", 1 + number, 1 + number, 1 + number, at, 100.0 + number, 1.0, taker_buy=True)]
        columns = store.trades.columns_from_events(trades)
        store.live.flush("replay", columns, [price("BTC-USDT", 100.0 + number, at)])
        revised = bar("ETH-USDT", DAY, price=100.0 + number, revision=DAY + number * MINUTE)
        store.bars.write(frame([bar("ETH-USDT", DAY + (1 + number) * MINUTE), revised]), Timeframe.M1)
        alert(store, "much", "bad", f"{number}" * 400_000)  # more than buffers hold for a reader that takes nothing
        account.book(signals=[decided] if number == 0 else [], positions=[decided | {"mark": 100.0 + number}])
    alert(store, "ends", "bad")
    alert(store, "ends", "ok")
    alert(store, "last", "bad")  # it stays, so that whoever looks late sees it too
    account.book(trade_logs=[account.decided(START)])


@contextmanager
def one_reader(served: Served) -> Iterator[Callable[[], None]]:
    with client(served.port) as one:
        for channel in (PRICES, "trades"):
            one.subscribe(channel)

        def followed() -> None:
            ends = {PRICES: ("price", 104.0), "trades": ("state", "closed")}
            while ends:
                said = one.next()
                name, value = ends.get(said["channel"], ("", None))
                if name and said["rows"][0][name] == value:
                    del ends[said["channel"]]

        yield followed


@contextmanager
def one_that_takes_nothing(served: Served) -> Iterator[Callable[[], None]]:
    with socket.socket() as stalled, client(served.port) as other:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        stalled.connect(("127.0.0.1", served.port))
        shake_hands(stalled, {"op": "subscribe", "channels": [{"channel": "alerts"}, {"channel": PRICES}]})
        other.subscribe("alerts")

        def stalls() -> None:
            while "last" not in {row["source"] for row in other.next()["rows"]}:
                pass
            until = time.monotonic() + 5
            while all(each.writable.is_set() for each in served.server.server_state.connections):  # type: ignore[union-attr]
                assert time.monotonic() < until, "it takes everything"
                time.sleep(0.01)  # the server tells nobody

        yield stalls


def test_what_is_stored_does_not_depend_on_who_follows(new_database: NewDatabase) -> None:
    stored = []
    for number, following in enumerate((None, one_reader, one_that_takes_nothing)):
        with new_database(f"followed_{number}") as url, Store(url) as store, ExitStack() as stack:
            add_symbols(store)
            followed = None
            if following is not None:
                served = stack.enter_context(Served(Reader(url, patience=2.0), load_settings()))
                followed = stack.enter_context(following(served))
            write_everything(store)
            if followed is not None:
                followed()
            stored.append(all_that_is_stored(store))
    without, *with_readers = stored
    written = {"market.ohlc_revisions", "trading.signals", "trading.trade_logs", "ops.alerts", "market.live_prices"}
    assert written <= without.keys()
    assert any(name.startswith("market.trades_2025") for name in without)
    for found in with_readers:
        assert found == without
