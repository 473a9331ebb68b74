"""What a client of the stream is sent."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from websockets.sync.client import ClientConnection, connect

from crypto_pipeline.api import serve
from crypto_pipeline.api.stream import session
from crypto_pipeline.api.stream.asyncapi import asyncapi_document
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.store import LivePrice, Store
from crypto_pipeline.store.operations.check_states import NewState, write_states
from crypto_pipeline.store.research.forecasts import NewFit, NewForecast
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.builders.bars import START, bar, frame

MINUTE = timedelta(minutes=1)


DOCUMENT = asyncapi_document()
_SENT = [
    {"$ref": f"#/components/messages/{each['$ref'].rsplit('/', 1)[1]}/payload"}
    for each in DOCUMENT["operations"]["sent"]["messages"]
]
#: A frame that the server sends is exactly one of the messages that the document says it sends.
DESCRIBED = Draft202012Validator({"oneOf": _SENT, "components": DOCUMENT["components"]})


class Client:
    """A client that reads frame by frame, and holds each to the AsyncAPI document; heartbeats are left out."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.hello = self.next()

    def next(self) -> dict[str, Any]:
        while True:
            frame: dict[str, Any] = json.loads(self.socket.recv(timeout=10))
            DESCRIBED.validate(frame)
            if frame["type"] != "heartbeat":
                return frame

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def subscribe(self, channel: str, **more: Any) -> dict[str, Any]:
        self.send(op="subscribe", channels=[{"channel": channel, **more}])
        return self.next()


@contextmanager
def client(served: Served, **more: Any) -> Iterator[Client]:
    with connect(f"ws://127.0.0.1:{served.port}/stream", **more) as socket:
        yield Client(socket)


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
    with client(served) as one:
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
    with client(served) as one:
        snapshot = one.subscribe("bars/BTC-USDT/1m")
        times = [row["open_time"] for row in snapshot["rows"]]
        assert times == [unix_ms(START + minute * MINUTE) for minute in range(50) if minute % 7]
        store.bars.write(frame([bar(at=START + 50 * MINUTE), bar(at=START + 7 * MINUTE)]), Timeframe.M1)
        delta = one.next()
        assert [row["open_time"] for row in delta["rows"]] == [unix_ms(START + n * MINUTE) for n in (7, 50)]


def write(store: Store, status: str, summary: str) -> None:
    store.connections.run(write_states, [NewState("test_check", status, "warning", summary)])


def shake_hands(one: socket.socket, message: dict[str, Any]) -> None:
    """Become a websocket by hand, and send one message."""
    head = "GET /stream HTTP/1.1", f"Host: 127.0.0.1:{one.getpeername()[1]}", "Upgrade: websocket", *(
        "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", ""
    )  # fmt: skip
    one.sendall("\r\n".join(head).encode())
    body = json.dumps(message).encode()
    assert len(body) < 126
    one.sendall(bytes([0x81, 0x80 | len(body), 0, 0, 0, 0]) + body)


def test_an_alert_is_sent_when_it_opens_changes_and_ends(served: Served, store: Store) -> None:
    with client(served) as one:
        assert one.subscribe("alerts")["rows"] == []
        write(store, "bad", "it is bad")
        (opened,) = one.next()["rows"]
        assert (opened["source"], opened["summary"], opened["resolved_at"]) == ("test_check", "it is bad", None)
        write(store, "bad", "it is worse")
        assert one.next()["rows"] == [opened | {"summary": "it is worse"}]
        write(store, "ok", "it is well")
        (ended,) = one.next()["rows"]
        assert ended["id"] == opened["id"]
        assert ended["resolved_at"] >= opened["opened_at"]


def test_a_forecast_is_sent_when_it_is_published(served: Served, store: Store) -> None:
    now = store.clock.now().replace(minute=0, second=0, microsecond=0)
    fitted = NewFit("ETH-USDT", "1h", now, "naive", {"why": "a test"})
    with client(served) as one:
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


def test_a_client_that_takes_nothing_is_cut_off_and_another_one_does_not_notice(
    served: Served, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "STALLED", 0.3)
    monkeypatch.setattr(serve, "LEAVING", 0.3)
    with client(served) as one, socket.create_connection(("127.0.0.1", served.port)) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
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
        assert taken < 3 * 400_000
        write(store, "ok", "")
