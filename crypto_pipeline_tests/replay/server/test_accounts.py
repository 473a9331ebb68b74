"""The signed order API over real sockets: signatures, times, orders, and what its faults do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from websockets.sync.client import connect

from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.replay.server.accounts.desk import DEFAULT_KEY, DEFAULT_SECRET
from crypto_pipeline.replay.server.accounts.signed import signature
from crypto_pipeline_tests.replay.conftest import NOW

BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}


class Client:
    """Signs as Binance demands it."""

    def __init__(self, exchange: ReplayExchange) -> None:
        self.exchange = exchange
        self.http = httpx.Client(base_url=exchange.url, trust_env=False, timeout=5)

    def ask(self, method: str, path: str, secret: str = DEFAULT_SECRET, key: str = DEFAULT_KEY, **values: Any) -> Any:
        values = {"timestamp": self.exchange.clock.now_ms()} | values
        payload = urlencode(values)
        payload += "&signature=" + signature(secret, payload)
        headers = {"X-MBX-APIKEY": key} if key else {}
        if method == "POST":
            return self.http.post(f"/api/v3/{path}", content=payload, headers=headers).json()
        return self.http.request(method, f"/api/v3/{path}?{payload}", headers=headers).json()


@pytest.fixture(scope="module")
def exchange() -> Iterator[ReplayExchange]:
    with running_exchange(now=NOW, speed=0, weight_limit=0, instruments=2) as running:
        yield running


@pytest.fixture
def client(exchange: ReplayExchange) -> Iterator[Client]:
    exchange.clear_faults()
    made = Client(exchange)
    yield made
    made.http.close()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": ""}, -2014),
        ({"key": "other"}, -2015),
        ({"secret": "other"}, -1022),
        ({"timestamp": 0}, -1021),
        ({"recvWindow": 60_001}, -1131),
        ({"symbol": "NOUSDT"}, -1121),
        ({"type": "ICEBERG"}, -1116),
        ({"side": "HOLD"}, -1117),
        ({"quantity": "a lot"}, -1100),
        ({"type": "LIMIT", "price": "9"}, -1102),
    ],
)
def test_a_bad_request_is_refused_with_binances_code(client: Client, changes: dict[str, Any], code: int) -> None:
    assert client.ask("POST", "order", **BUY | changes)["code"] == code


def test_a_request_from_the_future_or_the_past_is_refused(client: Client) -> None:
    now = client.exchange.clock.now_ms()
    assert "ahead" in client.ask("GET", "account", timestamp=now + 1000)["msg"]
    assert "recvWindow" in client.ask("GET", "account", timestamp=now - 5001)["msg"]
    assert "balances" in client.ask("GET", "account", timestamp=now - 5000)


def test_an_order_is_found_by_its_id_with_its_fills(client: Client) -> None:
    made = client.ask("POST", "order", **BUY, newClientOrderId="first")
    assert made["status"] == "FILLED"
    asked = client.ask("GET", "order", symbol="BTCUSDT", origClientOrderId="first")
    assert asked["orderId"] == made["orderId"]
    fills = client.ask("GET", "myTrades", symbol="BTCUSDT", orderId=made["orderId"])
    assert [fill["qty"] for fill in fills] == ["0.01000000"]
    assert client.ask("GET", "order", symbol="BTCUSDT", origClientOrderId="none")["code"] == -2013


def test_the_tape_fills_what_rests_and_the_user_stream_tells_it(client: Client) -> None:
    exchange = client.exchange
    with connect(exchange.ws_url + "/ws-api/v3", proxy=None) as socket:
        params = {"apiKey": DEFAULT_KEY, "timestamp": exchange.clock.now_ms()}
        params["signature"] = signature(DEFAULT_SECRET, urlencode(params))
        socket.send(json.dumps({"id": "1", "method": "userDataStream.subscribe.signature", "params": params}))
        assert json.loads(socket.recv(5))["status"] == 200
        held = client.ask("POST", "order", **BUY | {"quantity": "0.02"}, newClientOrderId="held")
        last = float(held["fills"][0]["price"])
        legs = {"aboveType": "LIMIT_MAKER", "abovePrice": f"{last * 1.01:.2f}", "aboveClientOrderId": "above"}
        legs |= {"belowType": "STOP_LOSS", "belowStopPrice": f"{last * 0.99:.2f}", "belowClientOrderId": "below"}
        made = client.ask("POST", "orderList/oco", symbol="BTCUSDT", side="SELL", quantity="0.01", **legs)
        assert made["listOrderStatus"] == "EXECUTING"
        exchange.control({"kind": "user_events", "manner": "duplicate"})
        exchange.clock.set(now=NOW + timedelta(days=3))
        try:
            told: list[dict[str, Any]] = []
            while [(one["S"], one["X"]) for one in told].count(("SELL", "FILLED")) < 2:
                told.append(json.loads(socket.recv(10))["event"])
        finally:
            exchange.clock.set(now=NOW)
    sold = [one for one in told if one["S"] == "SELL" and one["X"] == "FILLED"]
    assert sold[0] == sold[1], "the fault sends it twice"
    ended = next(one for one in told if one["X"] == "EXPIRED")
    assert {sold[0]["c"], ended["c"]} == {"above", "below"}


@pytest.mark.parametrize(("manner", "booked"), [("close", True), ("close", False), ("unknown", True)])
def test_a_lost_answer_leaves_an_order_that_can_only_be_asked_for(client: Client, manner: str, booked: bool) -> None:
    client.exchange.control({"kind": "order_timeout", "manner": manner, "booked": booked, "count": 1})
    name = f"lost-{manner}-{booked}"
    if manner == "close":
        with pytest.raises(httpx.RemoteProtocolError):
            client.ask("POST", "order", **BUY, newClientOrderId=name)
    else:
        assert client.ask("POST", "order", **BUY, newClientOrderId=name)["code"] == -1007
    found = client.ask("GET", "order", symbol="BTCUSDT", origClientOrderId=name)
    assert ("orderId" in found) is booked


def test_faults_of_orders_and_fills(client: Client) -> None:
    client.exchange.control(
        {"kind": "order_reject", "code": -1015, "message": "Too many new orders.", "count": 1},
        {"kind": "order_partial", "share": 0.5, "seconds": 3600, "count": 1},
    )
    assert client.ask("POST", "order", **BUY)["code"] == -1015
    split = client.ask("POST", "order", **BUY, newClientOrderId="split")
    assert (split["status"], split["executedQty"]) == ("PARTIALLY_FILLED", "0.00500000")
    client.ask("DELETE", "order", symbol="BTCUSDT", origClientOrderId="split")
    asked = {"symbol": "BTCUSDT", "orderId": split["orderId"]}
    client.exchange.control({"kind": "late_fills", "seconds": 5, "count": 1}, {"kind": "duplicate_fills"})
    assert client.ask("GET", "myTrades", **asked) == []
    assert len(client.ask("GET", "myTrades", **asked)) == 2


def test_a_wrong_clock_of_the_exchange_refuses_what_is_signed_by_the_right_one(client: Client) -> None:
    client.exchange.control({"kind": "order_clock_skew", "milliseconds": 30_000})
    assert client.ask("GET", "account")["code"] == -1021
    stated = client.http.get("/api/v3/time").json()["serverTime"]
    assert "balances" in client.ask("GET", "account", timestamp=stated)
