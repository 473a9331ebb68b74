"""Who may follow the stream: token, one-time ticket, page of the server itself; nobody else."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from pydantic import SecretStr
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from crypto_pipeline import Reader
from crypto_pipeline.api.stream import tickets
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
