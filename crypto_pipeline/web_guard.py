"""Which requests a server of ours takes from a browser: none that another web page made. No I/O.

A page of any origin can have a visitor's browser send requests to a server on the same machine. The browser says in the
headers ``Origin`` and ``Sec-Fetch-Site`` who asks. A name that an attacker points at this machine (DNS rebinding) shows
in the header ``Host``. Programs that are no browsers send neither ``Origin`` nor ``Sec-Fetch-Site``, and name the
machine as a person does: nothing changes for them.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: No other site may show our pages inside its own, where a click could be led astray.
FRAMING = {"X-Frame-Options": "SAMEORIGIN"}


@dataclass(frozen=True, slots=True)
class AllowedNames:
    """Names under which a server may be addressed; ``proxied`` are those that a person allowed, at whatever port."""

    own: frozenset[str]
    proxied: frozenset[str]


def allowed_names(host: str, more: str | None) -> AllowedNames:
    """The names of a server bound to ``host``; ``more`` is the setting ``allowed_hosts``."""
    given = frozenset(name.strip().lower() for name in (more or "").split(",") if name.strip())
    return AllowedNames(frozenset({host.strip("[]").lower(), *_own_names()}), given)


@lru_cache(maxsize=1)
def _own_names() -> tuple[str, ...]:
    return "localhost", socket.gethostname().lower()


def refusal(method: str, headers: Mapping[str, str], names: AllowedNames, *, websocket: bool = False) -> str | None:
    """Why this request is refused; None when it may pass.

    ``headers``: names in lower case. ``names``: from ``allowed_names``. Addresses in figures are always allowed as
    ``Host``: nobody can point them elsewhere.
    """
    host = headers.get("host", "")
    if not _is_known(host, names):
        return (
            f"the host {host!r} is not a name of this server: use its address, localhost, or add the name to "
            "CRYPTO_PIPELINE_ALLOWED_HOSTS"
        )
    origin = headers.get("origin")
    if origin is not None and not _is_own(origin, host, names):
        return (
            f"a page of {origin!r} may not use this server: only pages of its own may, and those of "
            "CRYPTO_PIPELINE_ALLOWED_HOSTS"
        )
    site = headers.get("sec-fetch-site", "none")
    if origin is None and site in ("cross-site", "same-site"):
        following_a_link = method in _SAFE and headers.get("sec-fetch-mode") == "navigate" and not websocket
        if not following_a_link or headers.get("sec-fetch-dest") in ("iframe", "frame", "embed", "object"):
            return "another site may link to this server, but not use it"
    return None


def graphql_refusal(method: str, path: str, query: str, headers: Mapping[str, str]) -> str | None:
    """Why Dagster's GraphQL does not take this: what it is to do comes as JSON, which no foreign page can send.

    Dagster itself executes what stands in the address, also of a GET, whatever type the body has.
    """
    if not path.rstrip("/").endswith("/graphql"):
        return None
    if "query" in parse_qs(query, keep_blank_values=True):
        return "send the query as JSON in the body of a POST, not in the address"
    if method == "POST" and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return "send the query as JSON, with the content type application/json"
    return None


def _is_known(host: str, names: AllowedNames) -> bool:
    name = _name_of(f"//{host}")
    if name is None:
        return False
    return _is_figures(name) or name in names.own or name in names.proxied or name.endswith(".localhost")


def _is_own(origin: str, host: str, names: AllowedNames) -> bool:
    """The page came from this server, or from one of the names that a person allowed: a proxy has a port of its own."""
    if origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}"):
        return True
    return _name_of(origin) in names.proxied


def _name_of(url: str) -> str | None:
    """The name in a URL; None where it has none, or is none."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (raises ValueError for a port that is none)
    except ValueError:
        return None
    return parts.hostname


def _is_figures(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class WebGuard:
    """ASGI layer that answers 403 to what ``refusal`` refuses; ``graphql``: to what ``graphql_refusal`` does too."""

    def __init__(self, app: App, names: AllowedNames, *, graphql: bool = False) -> None:
        self._app, self._names, self._graphql = app, names, graphql

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        websocket = scope["type"] == "websocket"
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        method = "GET" if websocket else scope["method"]
        why = refusal(method, headers, self._names, websocket=websocket)
        if why is None and self._graphql and not websocket:
            why = graphql_refusal(method, scope["path"], scope["query_string"].decode("latin-1"), headers)
        if why is None:
            await self._app(scope, receive, send if websocket else _framed(send))
        elif websocket:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        else:
            await _refuse(why, send)


def _framed(send: Any) -> Any:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            more = [(name.lower().encode(), value.encode()) for name, value in FRAMING.items()]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return sending


async def _refuse(why: str, send: Any) -> None:
    body = json.dumps({"title": "Forbidden", "status": 403, "detail": why}).encode()
    head = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": head})
    await send({"type": "http.response.body", "body": body})
