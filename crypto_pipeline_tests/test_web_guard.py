"""What a browser may send to our servers: each header as the browsers of today send it."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from crypto_pipeline.addresses import base_url
from crypto_pipeline.web_guard import WebGuard, allowed_names, graphql_refusal, refusal

NAMES = allowed_names("127.0.0.1", "bars.example.org")
HERE = {"host": "127.0.0.1:3000"}


@pytest.mark.parametrize(
    "headers",
    [
        {},  # a program
        {"origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-origin"},
        {"host": "localhost:3000", "origin": "http://localhost:3000"},
        {"host": "[::1]:3000", "origin": "http://[::1]:3000"},
        {"host": "192.168.1.7:3000"},
        {"host": "bars.example.org", "origin": "https://bars.example.org"},
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},  # typed
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},  # a link
    ],
)
def test_programs_our_own_pages_and_links_pass(headers: dict[str, str]) -> None:
    assert refusal("GET", HERE | headers, NAMES) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},  # a sandboxed frame, a file
        {"origin": "http://127.0.0.1:8000"},  # another server of this machine
        {"origin": "https://127.0.0.1:3000.evil.example"},
        {"origin": "https://127.0.0.1:4000"},
        {"host": "localhost:3000", "origin": "https://localhost:4000"},
        {"host": "evil.example:3000"},  # a name pointed at this machine
        {"host": "evil.example:3000", "origin": "http://evil.example:3000"},
        {"host": "127.0.0.1.evil.example"},
        {"host": ""},
        {"host": "[::1"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    ],
)
def test_what_another_page_makes_a_browser_send_is_refused(headers: dict[str, str]) -> None:
    assert refusal("GET", HERE | headers, NAMES) is not None
    assert refusal("POST", HERE | headers, NAMES) is not None


def test_a_form_of_another_site_may_not_post_even_as_navigation() -> None:
    sent = HERE | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert refusal("POST", sent, NAMES) is not None


@given(st.dictionaries(st.sampled_from(["host", "origin", "sec-fetch-site", "sec-fetch-mode"]), st.text(max_size=40)))
def test_no_header_breaks_it(headers: dict[str, str]) -> None:
    found = refusal("GET", headers, NAMES)
    assert found is None or found


def test_graphql_takes_json_in_the_body_only() -> None:
    json = {"content-type": "application/json; charset=utf-8"}
    assert graphql_refusal("POST", "/graphql", "", json) is None
    assert graphql_refusal("GET", "/graphql", "", {"accept": "text/html"}) is None
    assert graphql_refusal("GET", "/runs", "query=x", {}) is None
    assert graphql_refusal("GET", "/graphql", "query=mutation%7Bx%7D", {}) is not None
    assert graphql_refusal("POST", "/graphql", "query=mutation%7Bx%7D", json) is not None
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/graphql", ""):
        assert graphql_refusal("POST", "/graphql", "", {"content-type": kind}) is not None


def test_addresses_with_brackets() -> None:
    assert base_url("127.0.0.1", 1) == "http://127.0.0.1:1"
    assert base_url("::1", 4101) == base_url("[::1]", 4101) == "http://[::1]:4101"
    assert base_url("::", 1, "ws") == "ws://[::1]:1"
    assert base_url("0.0.0.0", 1) == "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A guarded application on a real socket."""

    async def page(_: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    app = Starlette(routes=[Route("/", page, methods=["GET", "POST"]), WebSocketRoute("/talk", talk)])
    config = uvicorn.Config(WebGuard(app, NAMES, graphql=True), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def ask(port: int, method: str, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, "/", headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


def test_refused_over_a_real_socket_and_answers_cannot_be_framed(port: int) -> None:
    status, headers = ask(port, "GET")
    assert (status, headers["x-frame-options"]) == (200, "SAMEORIGIN")
    assert ask(port, "POST", Origin="http://evil.example")[0] == 403
    assert ask(port, "GET", Host="evil.example")[0] == 403


def test_a_websocket_of_another_page_is_refused(port: int) -> None:
    own = f"http://127.0.0.1:{port}"
    with connect(f"ws://127.0.0.1:{port}/talk", origin=own, proxy=None) as mine:  # type: ignore[arg-type]
        assert mine.recv() == "hello"
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{port}/talk", origin="http://evil.example", proxy=None)  # type: ignore[arg-type]
