"""What a client of the stream is sent."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from crypto_pipeline.api import serve
from crypto_pipeline.api.stream import session
from crypto_pipeline.api.stream.sources.alerts import AlertChannels
from crypto_pipeline.api.stream.sources.trading import TradingChannels
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.store import LivePrice, Store
from crypto_pipeline.store.operations.check_states import NewState, write_states
from crypto_pipeline.store.operations.notifications.alerts import AlertRecords
from crypto_pipeline.store.research.forecasts import NewFit, NewForecast
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.api.stream.clients import client, shake_hands
from crypto_pipeline_tests.builders.bars import START, bar, frame, series
from crypto_pipeline_tests.builders.paper_account import PaperAccount

MINUTE = timedelta(minutes=1)


def price(instrument: str, value: float, at_ms: int, timeframe: Timeframe = Timeframe.M1) -> LivePrice:
    return LivePrice(
        instrument, timeframe, at_ms - at_ms % 60_000, value, value, value, value, 1.0, value, 0.5, 1, value, at_ms, 7,
        "live_aggregated",
    )  # fmt: skip


@pytest.fixture
def store(served_database: str) -> Iterator[Store]:
    with Store(served_database) as opened:
        yield opened


def test_prices_come_as_a_snapshot_and_then_as_what_changed(served: Served, store: Store) -> None:
    at = unix_ms(START)
    store.live.flush("replay", prices=[price("BTC-USDT", 100.0, at), price("ETH-USDT", 10.0, at)])
    with client(served.port) as one:
        assert one.hello["type"] == "hello"
        snapshot = one.subscribe("prices")
        assert {row["instrument"]: row["price"] for row in snapshot["rows"]} == {"BTC-USDT": 100.0, "ETH-USDT": 10.0}
        store.live.flush("replay", prices=[price("BTC-USDT", 101.0, at + 5), price("ETH-USDT", 10.0, at)])
        delta = one.next()
        assert (delta["type"], delta["channel"], delta["seq"]) == ("delta", "prices", snapshot["seq"] + 1)
        assert [(row["instrument"], row["price"], row["time"]) for row in delta["rows"]] == [
            ("BTC-USDT", 101.0, at + 5)
        ]


def test_a_bar_that_is_stored_is_sent(served: Served, store: Store) -> None:
    with client(served.port) as one:
        snapshot = one.subscribe("bars/BTC-USDT/1m")
        times = [row["open_time"] for row in snapshot["rows"]]
        assert times == [unix_ms(START + minute * MINUTE) for minute in range(50) if minute % 7]
        store.bars.write(frame([bar(at=START + 50 * MINUTE), bar(at=START + 7 * MINUTE)]), Timeframe.M1)
        delta = one.next()
        assert [row["open_time"] for row in delta["rows"]] == [unix_ms(START + n * MINUTE) for n in (7, 50)]


def write(store: Store, status: str, summary: str) -> None:
    store.connections.run(write_states, [NewState("test_check", status, "warning", summary)])


def test_an_alert_is_sent_when_it_opens_changes_and_ends(
    served: Served, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AlertChannels, "pause", 0.05)
    with client(served.port) as one:
        assert one.subscribe("alerts")["rows"] == []
        write(store, "bad", "it is bad")
        (opened,) = one.next()["rows"]
        assert (opened["source"], opened["summary"], opened["resolved_at"]) == ("test_check", "it is bad", None)
        write(store, "bad", "it is worse")
        assert one.next()["rows"] == [opened | {"summary": "it is worse"}]
        assert AlertRecords(store.connections).acknowledge([opened["id"]], "Ann") == [opened["id"]]
        (seen,) = one.next()["rows"]
        assert (seen["acknowledged_by"], seen["acknowledged_at"] >= opened["opened_at"]) == ("Ann", True)
        write(store, "ok", "it is well")
        (ended,) = one.next()["rows"]
        assert ended["id"] == opened["id"]
        assert ended["resolved_at"] >= opened["opened_at"]


def test_a_forecast_is_sent_when_it_is_published(served: Served, store: Store) -> None:
    now = store.clock.now().replace(minute=0, second=0, microsecond=0)
    fitted = NewFit("ETH-USDT", "1h", now, "naive", {"why": "a test"})
    with client(served.port) as one:
        assert one.subscribe("forecasts/ETH-USDT")["rows"] == []
        store.forecasts.add_fits([fitted])
        (fit,) = store.forecasts.fits(["1h"], now - timedelta(days=1))
        published = NewForecast(
            "ETH-USDT", "1h", now, fit.fit_id, 100.0, "naive", "HOLD", [now + timedelta(hours=1)],
            [-0.2, -0.1, 0.0, 0.1, 0.2], None,
        )  # fmt: skip
        store.forecasts.publish([published])
        (row,) = one.next()["rows"]
        assert (row["horizon"], row["moment"], row["direction"]) == ("1h", unix_ms(now), "HOLD")
        assert [step["target"] for step in row["steps"]] == [unix_ms(now + timedelta(hours=1))]


def test_a_signal_and_its_trade_are_sent_when_they_are_booked(
    served: Served, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TradingChannels, "pause", 0.05)
    with client(served.port) as one:
        assert one.subscribe("signals")["rows"] == []
        assert one.subscribe("trades")["rows"] == []
        account = PaperAccount(store)
        waits, never = account.decided(START), account.decided(START, instrument="ETH-USDT")
        refused = account.decided(START, instrument="DOGE-USDT", taken=False, limit_name="max_open", size=None)
        refused["order_sum"] = None

        def booked(**rows: Any) -> dict[tuple[str, str], dict[str, Any]]:
            """Rows by channel and instrument, once both channels said what the pass changed."""
            account.book(**rows)
            frames = [one.next() for _ in range(1 + ("signals" in rows))]
            assert {frame["type"] for frame in frames} == {"delta"}
            return {(frame["channel"], row["instrument"]): row for frame in frames for row in frame["rows"]}

        told = booked(signals=[waits, never, refused], positions=[waits, never])
        assert told["signals", "BTC-USDT"]["accepted"]
        assert told["signals", "BTC-USDT"]["size"] == "100"
        assert (told["signals", "DOGE-USDT"]["reason"], told["signals", "DOGE-USDT"]["size"]) == ("max_open", None)
        assert {key: row["state"] for key, row in told.items() if key[0] == "trades"} == {
            ("trades", "BTC-USDT"): "open", ("trades", "ETH-USDT"): "open"
        }  # fmt: skip
        assert {row["price"] for row in booked(positions=[waits | {"mark": 107.0}, never]).values()} == {107.0}
        told = booked(trade_logs=[account.decided(START, pnl=Decimal("9.5"))], positions=[])
        assert {key: row["state"] for key, row in told.items()} == {
            ("trades", "BTC-USDT"): "closed", ("trades", "ETH-USDT"): "cancelled"
        }  # fmt: skip
        ended = told["trades", "BTC-USDT"]
        assert (ended["pnl"], ended["outcome"], ended["exit_ts"]) == ("9.5", "TP", unix_ms(account.moment))


def test_a_client_that_takes_nothing_is_cut_off_and_another_one_does_not_notice(
    served: Served, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "STALLED", 0.3)
    monkeypatch.setattr(serve, "LEAVING", 0.3)
    with client(served.port) as one, socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        stalled.connect(("127.0.0.1", served.port))
        shake_hands(stalled, {"op": "subscribe", "channels": [{"channel": "alerts"}]})
        one.subscribe("alerts")
        for number in range(6):
            write(store, "bad", f"{number}" * 400_000)
            (row,) = one.next()["rows"]
            assert row["summary"][0] == str(number)
        stalled.settimeout(10)
        taken = 0
        with suppress(ConnectionResetError):
            while chunk := stalled.recv(1 << 16):
                taken += len(chunk)
        assert 0 < taken < 3 * 400_000
        write(store, "ok", "")


def test_a_client_goes_on_where_it_was(served: Served, store: Store) -> None:
    with client(served.port) as one:
        epoch, left = one.hello["epoch"], one.subscribe("prices")["seq"]
    with client(served.port) as witness:
        witness.subscribe("prices")
        for value in (201.0, 202.0):
            store.live.flush("replay", prices=[price("BTC-USDT", value, unix_ms(START))])
            missed = witness.next()
        with client(served.port) as again:
            assert again.subscribe("prices", epoch=epoch, after=left) == {
                "type": "resumed", "channel": "prices", "seq": left
            }  # fmt: skip
            deltas = [again.next(), again.next()]
            assert [frame["seq"] for frame in deltas] == [left + 1, left + 2]
            assert deltas[-1] == missed
            # of another process, or of a number that never was
            assert again.subscribe("prices", epoch="another", after=left)["type"] == "snapshot"
            assert again.subscribe("prices", epoch=epoch, after=left + 1_000)["type"] == "snapshot"


def test_what_changes_before_the_newest_bars_is_named(served: Served, store: Store) -> None:
    first = START + timedelta(days=10)
    store.bars.write(series(("ETH-USDT",), count=1_000, start=first), Timeframe.M1)
    with client(served.port) as one:
        rows = one.subscribe("bars/ETH-USDT/1m")["rows"]
        assert [rows[0]["open_time"], len(rows)] == [unix_ms(first + 500 * MINUTE), 500]

        def heal(*minutes: int, price: float) -> list[list[int]]:
            at = [first + n * MINUTE for n in minutes]
            healed = [bar("ETH-USDT", each, price=price, revision=first + timedelta(days=price)) for each in at]
            store.bars.write(frame(healed), Timeframe.M1)
            changed = one.next()
            assert changed["type"] == "changed"
            spans: list[list[int]] = changed["spans"]
            return spans

        # what was recorded a moment before counts as changed with the first change
        ((begin, end),) = heal(7, 8, price=55.0)
        assert begin <= unix_ms(first + 7 * MINUTE) < unix_ms(first + 9 * MINUTE) <= end <= rows[0]["open_time"]
        span = [unix_ms(first + 3 * MINUTE), unix_ms(first + 5 * MINUTE)]
        other = [unix_ms(first + 9 * MINUTE), unix_ms(first + 10 * MINUTE)]
        assert heal(3, 4, 9, price=56.0) == [span, other]
        # a day that has no bar among the newest ones
        store.bars.write(frame([bar("ETH-USDT", first - timedelta(days=2))]), Timeframe.M1)
        day = unix_ms(first - timedelta(days=2))
        assert one.next()["spans"] == [[day, day + 86_400_000]]
        # and the next bar comes as ever
        store.bars.write(frame([bar("ETH-USDT", first + 1_000 * MINUTE)]), Timeframe.M1)
        assert [row["open_time"] for row in one.next()["rows"]] == [unix_ms(first + 1_000 * MINUTE)]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ('{"op":"subscribe","channels":[{"channel":"price"}]}', "did you mean prices"),
        ('{"op":"subscribe","channels":[{"channel":"bars/BTC-USDT"}]}', "bars/INSTRUMENT/TIMEFRAME"),
        ('{"op":"subscribe","channels":[{"channel":"bars/BTC-USDT/7m"}]}', "7m"),
        ('{"op":"subscribe","channels":[{"channel":"bars/BTC-USD/1m"}]}', "BTC-USD"),
        ('{"op":"subscribe","channels":[]}', "length >= 1"),
        ('{"op":"close"}', "close"),
        ("[1", "not understood"),
    ],
)
def test_a_wrong_message_is_told_why_and_the_connection_goes_on(served: Served, message: str, words: str) -> None:
    with client(served.port) as one:
        one.socket.send(message)
        refused = one.next()
        assert refused["type"] == "error"
        assert words in refused["detail"]
        assert one.subscribe("prices")["type"] == "snapshot"
