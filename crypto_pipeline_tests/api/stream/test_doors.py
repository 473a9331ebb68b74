"""Who may follow the stream: token, one-time ticket, page of the server itself; nobody else."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from pydantic import SecretStr
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from crypto_pipeline import Reader
from crypto_pipeline.api.stream import routes, session, tickets
from crypto_pipeline.settings import load_settings
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.api.stream.clients import DOCUMENT, client

TOKEN = {"Authorization": "Bearer right"}


@pytest.fixture(scope="module")
def guarded(served_database: str) -> Iterator[Served]:
    settings = load_settings().model_copy(update={"api_token": SecretStr("right")})
    with Served(Reader(served_database, patience=2.0), settings) as running:
        yield running


def ticket(served: Served) -> str:
    request = urllib.request.Request(f"{served.url}/stream/ticket", method="POST", headers=TOKEN)
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: str = json.load(answer)["ticket"]
        return found


def refusal(served: Served, query: str = "", **more: Any) -> int:
    with pytest.raises(InvalidStatus) as refused, client(served.port, query, **more):
        pass
    return refused.value.response.status_code


def test_the_token_opens_it_and_nothing_else_does(guarded: Served) -> None:
    with client(guarded.port, additional_headers=TOKEN) as one:
        assert one.subscribe("alerts")["type"] == "snapshot"
    assert refusal(guarded) == 401
    assert refusal(guarded, additional_headers={"Authorization": "Bearer wrong"}) == 401
    assert refusal(guarded, "?ticket=invented") == 401
    assert refusal(guarded, "?ticket=") == 401


def test_a_ticket_opens_one_connection(guarded: Served) -> None:
    shown = ticket(guarded)
    with client(guarded.port, f"?ticket={shown}") as one:
        assert one.hello["protocol"] == 1
    assert refusal(guarded, f"?ticket={shown}") == 401


def test_a_ticket_is_forgotten(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "LIFETIME", -1.0)
    assert refusal(guarded, f"?ticket={ticket(guarded)}") == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_page_of_another_site_is_refused_even_with_a_ticket(guarded: Served, headers: dict[str, str]) -> None:
    assert refusal(guarded, f"?ticket={ticket(guarded)}", additional_headers=headers) == 403


def test_a_page_of_its_own_is_not(guarded: Served) -> None:
    with client(guarded.port, f"?ticket={ticket(guarded)}", additional_headers={"Origin": guarded.url}) as one:
        assert one.hello["protocol"] == 1


def test_the_document_is_open(guarded: Served) -> None:
    with urllib.request.urlopen(f"{guarded.url}/asyncapi.json", timeout=10) as answer:
        assert json.load(answer) == json.loads(json.dumps(DOCUMENT))


def test_who_talks_too_much_is_cut_off(served: Served) -> None:
    with client(served.port) as one:
        with suppress(ConnectionClosedError):
            for _ in range(100):
                one.send(op="unsubscribe", channels=["prices"])
        with pytest.raises(ConnectionClosedError, match="1008"):
            one.next()


def test_it_answers_under_its_own_names_alone(guarded: Served) -> None:
    """A name that somebody else points at this machine opens nothing, not even with the token."""

    def addressed(host: str) -> ClientConnection:
        to = socket.create_connection(("127.0.0.1", guarded.port))
        return connect(f"ws://{host}:{guarded.port}/stream", sock=to, additional_headers=TOKEN)

    for name in ("evil.example", "localhost.evil.example", "127.0.0.1.nip.example"):
        with pytest.raises(InvalidStatus) as refused:
            addressed(name)
        assert refused.value.response.status_code == 403
        assert b"hello" not in refused.value.response.body
    with addressed("localhost") as one:
        assert json.loads(one.recv(timeout=10))["type"] == "hello"


async def test_of_many_at_once_only_so_many_are_let_in(served_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "_MOST_STREAMS", 3)
    with Served(Reader(served_database, patience=2.0), load_settings()) as alone:
        url = f"ws://127.0.0.1:{alone.port}/stream"
        come = await asyncio.gather(*(connect_async(url) for _ in range(20)), return_exceptions=True)
        inside = [each for each in come if not isinstance(each, BaseException)]
        refused = [each.response for each in come if isinstance(each, InvalidStatus)]
        assert (len(inside), len(refused)) == (3, 17)
        assert {(one.status_code, one.headers["Retry-After"]) for one in refused} == {(503, "5")}
        assert b"3 connections are open" in refused[0].body
        for one in inside:
            assert json.loads(await one.recv())["type"] == "hello"
        await inside.pop().close()
        async with asyncio.timeout(10):
            while True:  # the server notices the end a moment later
                with suppress(InvalidStatus):
                    inside.append(await connect_async(url))
                    break
        for one in inside:
            await one.close()


def test_a_connection_follows_so_many_channels(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with client(served.port) as one:
        one.send(op="subscribe", channels=[{"channel": f"forecasts/A{number}"} for number in range(301)])
        assert "length <= 300" in one.next()["detail"]
        monkeypatch.setattr(session, "MOST_CHANNELS", 2)
        for channel in ("prices", "alerts"):
            assert one.subscribe(channel)["type"] == "snapshot"
        refused = one.subscribe("signals")
        assert (refused["type"], refused["channel"]) == ("error", "signals")
        assert "at most 2 channels" in refused["detail"]
        assert one.subscribe("prices")["type"] == "snapshot", "what it follows it may ask for anew"
        one.send(op="unsubscribe", channels=["alerts"])
        assert one.subscribe("signals")["type"] == "snapshot"
