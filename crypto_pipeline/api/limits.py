"""Who may ask, and how often: an optional token, and a token bucket per client. A plain ASGI layer before the rest."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from crypto_pipeline.api.problems import problem

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

#: Remembered clients; the one that was silent longest is forgotten first, with a full bucket.
_MOST_CLIENTS = 10_000
#: Requests at once that are not answered yet; whether it lives is told beyond that.
_MOST_AT_WORK = 1_000
#: Without a token too: how it is, in a word, and what it offers. They are answered also while too much is at work.
OPEN = frozenset({"/health", "/health/simple", "/openapi.json", "/asyncapi.json"})
#: The files of the live page: a person types the token there. They lie in memory, and count towards no rate.
_PAGE, _PAGE_FILES = "/", "/web/"


def _is_page(scope: Scope) -> bool:
    path: str = scope["path"]
    return (
        scope["type"] == "http"
        and scope["method"] in ("GET", "HEAD")
        and (path == _PAGE or path.startswith(_PAGE_FILES))
    )


class RequestLimits:
    """Answers 401 without the right bearer token, 429 above ``rate`` requests a second (in bursts twice as many), and
    503 while there is too much to do. A websocket may show a ticket instead of the token: ``ticket`` says whether a
    ticket is valid, and uses it up.
    """

    def __init__(
        self, app: App, token: str | None, rate: float, ticket: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._app, self._rate, self._ticket = app, rate, ticket
        self._token = None if token is None else token.encode()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._at_work = 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] not in ("http", "websocket") or _is_page(scope):
            await self._app(scope, receive, send)
            return
        refused = self._refusal(scope)
        if refused is not None:
            await refused(scope, receive, send)
            return
        if scope["type"] == "websocket":  # it is not at work: it has limits of its own
            await self._app(scope, receive, send)
            return
        self._at_work += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._at_work -= 1

    def _refusal(self, scope: Scope) -> Any:
        trusted = self._token is None or self._known(scope)
        #: what an open route may say more to a client with the token
        scope.setdefault("state", {})["trusted"] = trusted
        if not trusted and scope["path"] not in OPEN:
            return problem(401, "give the token as `Authorization: Bearer …`", {"WWW-Authenticate": "Bearer"})
        if self._at_work >= _MOST_AT_WORK and scope["path"] not in OPEN:
            return problem(503, f"{self._at_work} requests are at work: ask again in a second", {"Retry-After": "1"})
        if self._rate > 0:
            client = scope.get("client")
            wait = self._wait(client[0] if client else "")
            if wait > 0:
                detail = f"more than {self._rate:g} requests a second: wait {wait:.2f} s"
                return problem(429, detail, {"Retry-After": str(int(wait) + 1)})
        return None

    def _known(self, scope: Scope) -> bool:
        assert self._token is not None
        for name, value in scope["headers"]:
            if name == b"authorization":
                kind, _, given = value.partition(b" ")
                return kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token)
        if scope["type"] == "websocket":
            (shown,) = parse_qs(scope["query_string"].decode("latin-1")).get("ticket", [""])[:1]
            return self._ticket(shown)
        return False

    def _wait(self, client: str) -> float:
        """Take one from the client's bucket; seconds until there is one, 0 when there was."""
        now = time.monotonic()
        most = 2 * self._rate
        left, at = self._buckets.pop(client, (most, now))
        left = min(most, left + (now - at) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._buckets[client] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return wait
