"""``/_control``: faults on demand and the clock, for people and tests. Not part of any venue's protocol.

Requests that change something need the content type JSON, which pages of another origin cannot send without permission,
and the token if there is one.
"""

from __future__ import annotations

import hmac
import json
from typing import Any

from aiohttp import web

from crypto_pipeline.market.timeframes import parse_time
from crypto_pipeline.replay.clock import VirtualClock
from crypto_pipeline.replay.errors import ReplayError
from crypto_pipeline.replay.faults.book import FaultBook
from crypto_pipeline.replay.faults.script import parse_faults
from crypto_pipeline.replay.server.rest import json_answer

PREFIX = "/_control"


class ControlHandlers:
    """The control endpoint. Faults never apply to it."""

    def __init__(self, faults: FaultBook, clock: VirtualClock, token: str | None = None) -> None:
        self.faults, self.clock, self._token = faults, clock, token

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the application."""
        return [
            web.get(f"{PREFIX}/faults", self.show),
            web.post(f"{PREFIX}/faults", self.add),
            web.delete(f"{PREFIX}/faults", self.clear),
            web.delete(f"{PREFIX}/faults/{{id:[0-9]+}}", self.clear),
            web.get(f"{PREFIX}/clock", self.show_clock),
            web.post(f"{PREFIX}/clock", self.set_clock),
        ]

    async def show(self, _: web.Request) -> web.Response:
        """All faults, with how often each was applied."""
        return json_answer({"faults": self.faults.show()})

    async def add(self, request: web.Request) -> web.Response:
        """Add one fault, a list, or a whole script."""
        self._check_token(request)
        data = await _body(request)
        try:
            return json_answer({"added": self.faults.add(parse_faults(data))}, status=201)
        except ReplayError as error:
            raise _bad(str(error)) from None

    async def clear(self, request: web.Request) -> web.Response:
        """Remove one fault or all."""
        self._check_token(request)
        wanted = request.match_info.get("id")
        lifted = self.faults.clear(int(wanted) if wanted is not None else None)
        if wanted is not None and not lifted:
            raise web.HTTPNotFound(text=json.dumps({"error": f"no fault {wanted}"}), content_type="application/json")
        return json_answer({"lifted": lifted})

    async def show_clock(self, _: web.Request) -> web.Response:
        """Venue time and speed."""
        return json_answer({"now": self.clock.now().isoformat(), "speed": self.clock.speed})

    async def set_clock(self, request: web.Request) -> web.Response:
        """Set ``now`` (ISO 8601) and ``speed``."""
        self._check_token(request)
        data = await _body(request)
        if not isinstance(data, dict) or not data.keys() <= {"now", "speed"}:
            raise _bad('clock: send {"now": "2026-01-31T12:00Z", "speed": 1.0}, either or both')
        try:
            now = parse_time(data["now"]) if "now" in data else None
            self.clock.set(now, float(data["speed"]) if "speed" in data else None)
        except (TypeError, ValueError, ReplayError) as error:
            raise _bad(f"clock: {error}") from None
        return await self.show_clock(request)

    def _check_token(self, request: web.Request) -> None:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if self._token is None or (
            kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token.encode())
        ):
            return
        message = "give the token as `Authorization: Bearer …`: it is in run/replay-token of the data directory"
        raise web.HTTPUnauthorized(
            text=json.dumps({"error": message}),
            content_type="application/json",
            headers={"WWW-Authenticate": "Bearer"},
        )


async def _body(request: web.Request) -> Any:
    if request.content_type != "application/json":
        message = f"the content type is {request.content_type!r}: send application/json"
        raise web.HTTPUnsupportedMediaType(text=json.dumps({"error": message}), content_type="application/json")
    try:
        return await request.json()
    except ValueError as error:
        raise _bad(f"the body is not JSON: {error}") from None


def _bad(message: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=json.dumps({"error": message}), content_type="application/json")
