"""Proxies over real sockets: which addresses they are for, that both clients go through them, that no secret leaks."""

from __future__ import annotations

import asyncio
import base64
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from crypto_pipeline.venues import BinanceStream, Event, HttpClient, Notice, StreamPlan, StreamRefused, VenueUnavailable
from crypto_pipeline.venues.client.http import RequestPolicy
from crypto_pipeline.venues.client.proxy import HttpProxy, ProxyRefused, proxy_for
from crypto_pipeline_tests.builders.stream_server import Line, serving

SECRET = "p%40ss-w0rd"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
#: No such host exists; the proxies of these tests lead every name to this machine.
VENUE = "venue.invalid"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Proxy:
    """An HTTP proxy that leads everything to one port of this machine."""

    def __init__(self, target: int, refuse: bool) -> None:
        self.target, self.refuse = target, refuse
        self.heads: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self.refuse:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        if head.startswith("CONNECT"):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            back.write(head.encode())
        await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    except OSError:
        pass
    writer.close()


@asynccontextmanager
async def proxying(target: str, *, refuse: bool = False) -> AsyncIterator[Proxy]:
    proxy = Proxy(int(target.rsplit(":", 1)[1]), refuse)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()


async def speak(line: Line) -> None:
    await line.say('{"e":"serverShutdown","E":1}')


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://api.example.com", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://api.example.com", "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://api.example.com", None),
        ({"https_proxy": "http://proxy:3128"}, "wss://stream.example.com:9443/ws", "http://proxy:3128"),
        ({"HTTPS_PROXY": "proxy:3128"}, "https://api.example.com", "http://proxy:3128"),
        ({"HTTPS_PROXY": "https://proxy"}, "https://api.example.com", "https://proxy:443"),
        ({"HTTP_PROXY": "http://[::1]"}, "ws://stream.example.com", "http://[::1]:80"),
        ({"ALL_PROXY": "http://proxy:1"}, "wss://stream.example.com", "http://proxy:1"),
        ({"ALL_PROXY": "http://proxy:1", "HTTPS_PROXY": "http://other:2"}, "https://a.example.com", "http://other:2"),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "example.com"}, "https://api.example.com", None),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "other.com"}, "https://api.example.com", "http://proxy:1"),
        ({"HTTP_PROXY": "http://proxy:1", "ALL_PROXY": "http://proxy:1"}, "http://127.0.0.1:8089", None),
        ({"HTTP_PROXY": "http://proxy:1"}, "ws://localhost:8089", None),
        ({"HTTP_PROXY": "http://proxy:1"}, "http://[::1]:8089", None),
    ],
)
def test_which_proxy_an_address_has(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(url)
    assert (None if found is None else found.url) == proxy


def test_its_user_and_password_are_decoded_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@proxy:3128")
    proxy = proxy_for("https://api.example.com")
    assert proxy is not None
    assert proxy == HttpProxy("http://proxy:3128", "me", "p@ss-w0rd")
    assert "w0rd" not in f"{proxy!r} {proxy}"


@pytest.mark.parametrize(
    "stated", [f"socks5://me:{SECRET}@proxy:1", f"http://me:{SECRET}@:1", f"http://me:{SECRET}@a:b"]
)
def test_what_is_no_http_proxy_is_refused_without_its_secret(monkeypatch: pytest.MonkeyPatch, stated: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", stated)
    with pytest.raises(ProxyRefused, match="HTTPS_PROXY") as caught:
        proxy_for("https://api.example.com")
    assert "w0rd" not in "".join(traceback.format_exception(caught.value))


async def ask(client: HttpClient) -> str:
    try:
        return await client.get("/a", lambda response: response.body.decode(), params={"b": 1})
    finally:
        await client.close()


async def listen(venue: BinanceStream) -> list[Event]:
    try:
        connection = await venue.connect(StreamPlan([("BTC-USDT", "BTCUSDT")]))
        async for events in connection.events():
            if Notice("shutdown", "the server is about to shut down") in events:
                await connection.close()
                return events
        raise AssertionError("it ended first")
    finally:
        await venue.close()


async def echo(request: web.Request) -> web.StreamResponse:
    return web.Response(text=str(request.url))


LOGIN = base64.b64encode(b"me:p@ss-w0rd").decode()


async def test_requests_and_streams_go_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(plain=echo) as rest, serving(speak) as stream:
        async with proxying(rest.url) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://me:{SECRET}@127.0.0.1:{proxy.port}")
            assert await ask(HttpClient("there", f"http://{VENUE}")) == f"http://{VENUE}/a?b=1"
            assert f"GET http://{VENUE}/a?b=1 HTTP/1.1" in proxy.heads[0]
            assert f"basic {LOGIN}".lower() in proxy.heads[0].lower()
        async with proxying(stream.url) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://me:{SECRET}@127.0.0.1:{proxy.port}")
            assert await listen(BinanceStream(f"ws://{VENUE}"))
            assert proxy.heads[0].startswith(f"CONNECT {VENUE}:80 HTTP/1.1")
            assert f"basic {LOGIN}".lower() in proxy.heads[0].lower()


async def test_a_proxy_that_refuses_is_told_of_without_its_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    async with serving() as server, proxying(server.url, refuse=True) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://me:{SECRET}@127.0.0.1:{proxy.port}")
        for url in (f"http://{VENUE}", f"https://{VENUE}"):
            client = HttpClient("there", url, policy=RequestPolicy(timeout=5, attempts=1))
            with pytest.raises(VenueUnavailable, match="407") as unavailable:
                await ask(client)
            said += [repr(client), *traceback.format_exception(unavailable.value)]
        for url in (f"ws://{VENUE}", f"wss://{VENUE}"):
            with pytest.raises(StreamRefused, match="407") as refused:
                await listen(BinanceStream(url, timeout=5))
            said += traceback.format_exception(refused.value)
    assert len(proxy.heads) == 4
    everything = f"{''.join(said)} {caplog.text}"
    assert not any(secret in everything for secret in ("w0rd", LOGIN, SECRET))
