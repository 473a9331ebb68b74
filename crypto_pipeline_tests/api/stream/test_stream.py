"""What a client of the stream is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.store import LivePrice, Store
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.builders.bars import START, bar, frame

MINUTE = timedelta(minutes=1)


class Client:
    """A client that reads frame by frame; heartbeats are left out."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.hello = self.next()

    def next(self) -> dict[str, Any]:
        while True:
            frame: dict[str, Any] = json.loads(self.socket.recv(timeout=10))
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
