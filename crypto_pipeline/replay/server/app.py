"""The HTTP application: routes, and the faults, request weights and error bodies of every request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from aiohttp import web

from crypto_pipeline.replay.clock import VirtualClock
from crypto_pipeline.replay.faults.book import Call, FaultBook
from crypto_pipeline.replay.faults.script import (
    BadRows,
    Hang,
    Malformed,
    Outage,
    RateLimit,
    ServerError,
    Slow,
    Truncated,
)
from crypto_pipeline.replay.faults.spoiling import spoil_body
from crypto_pipeline.replay.fred.rest import PREFIXES as FRED_PATHS
from crypto_pipeline.replay.fred.rest import FredHandlers
from crypto_pipeline.replay.market.tape import Tape
from crypto_pipeline.replay.massive.server import PREFIXES as MASSIVE_PATHS
from crypto_pipeline.replay.massive.server import MassiveServer
from crypto_pipeline.replay.server.accounts.desk import AccountDesk, ApiKey
from crypto_pipeline.replay.server.accounts.rest import AccountHandlers
from crypto_pipeline.replay.server.accounts.user_stream import UserStream
from crypto_pipeline.replay.server.archive import ArchiveHandlers
from crypto_pipeline.replay.server.control import PREFIX, ControlHandlers
from crypto_pipeline.replay.server.feed import Feed
from crypto_pipeline.replay.server.hub import StreamHub
from crypto_pipeline.replay.server.limits import WEIGHTS, Admission, WeightLimits
from crypto_pipeline.replay.server.parameters import Refused
from crypto_pipeline.replay.server.playback import PlaybackHandlers
from crypto_pipeline.replay.server.rest import RestHandlers, json_answer
from crypto_pipeline.replay.server.streams import StreamHandlers
from crypto_pipeline.replay.wire.connection import StreamRules
from crypto_pipeline.web_guard import AllowedNames, allowed_names, refusal

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ReplayServer:
    """One exchange: market, clock, faults and request weights behind an aiohttp application with REST and streams."""

    def __init__(
        self,
        market: Tape,
        clock: VirtualClock,
        *,
        seed: int = 1,
        weight_limit: int = 6000,
        ban_after: int = 20,
        stream_rules: StreamRules | None = None,
        captures: Path | None = None,
        token: str | None = None,
        names: AllowedNames | None = None,
        fred: FredHandlers | None = None,
        massive: MassiveServer | None = None,
        api_keys: Mapping[str, ApiKey] | None = None,
    ) -> None:
        self.market, self.clock = market, clock
        self.faults = FaultBook(clock, seed)
        self.limits = WeightLimits(clock, weight_limit, ban_after)
        self.feed = Feed(market, clock)
        self.hub = StreamHub(market, clock, self.faults)
        rules = stream_rules or StreamRules()
        self.streams = StreamHandlers(self.hub, rules, count_connects=weight_limit > 0)
        self.playback = PlaybackHandlers(captures)
        self.fred = fred or FredHandlers(clock, seed)
        self.massive = massive
        self.accounts = AccountDesk(market, clock, api_keys)
        self.user_stream = UserStream(self.accounts, self.faults)
        self._token, self._names = token, names or allowed_names("localhost", None)

    def application(self) -> web.Application:
        """A new aiohttp application of this exchange."""
        application = web.Application(middlewares=[self._around])
        application.add_routes(RestHandlers(self.feed, self.limits, self.faults).routes())
        application.add_routes(ArchiveHandlers(self.feed, self.faults).routes())
        application.add_routes(ControlHandlers(self.faults, self.clock, self._token).routes())
        application.add_routes(AccountHandlers(self.accounts, self.faults).routes())
        application.add_routes(self.user_stream.routes())
        application.add_routes(self.streams.routes())
        application.add_routes(self.playback.routes())
        application.add_routes(self.fred.routes())
        application.add_routes(self.massive.routes() if self.massive is not None else [])
        application.cleanup_ctx.append(self.streams.playing)
        application.cleanup_ctx.append(self.user_stream.playing)
        return application

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        headers_seen = {name.lower(): value for name, value in request.headers.items()}
        websocket = headers_seen.get("upgrade", "").lower() == "websocket"
        if why := refusal(request.method, headers_seen, self._names, websocket=websocket):
            return json_answer({"error": why}, 403)
        if request.path.startswith(PREFIX):
            return await handler(request)
        call = _call(request)
        broken = await self._broken(request, call)
        if broken is not None:
            return broken
        headers: dict[str, str] = {}
        if call.endpoint in WEIGHTS:
            verdict = self.limits.spend(request.remote or "", WEIGHTS[call.endpoint])
            headers = {"X-MBX-USED-WEIGHT": str(verdict.used), "X-MBX-USED-WEIGHT-1M": str(verdict.used)}
            if verdict.status:
                return _too_many(verdict, self.limits.limit, headers)
        try:
            response = await handler(request)
        except Refused as refused:
            response = json_answer({"code": refused.code, "msg": refused.message}, refused.status)
        if isinstance(response, web.WebSocketResponse):
            return response
        response.headers.update(headers)
        return await self._spoiled(request, call, response)

    async def _broken(self, request: web.Request, call: Call) -> web.StreamResponse | None:
        """The answer of a fault that replaces the normal answer; None if there is none."""
        outage = self.faults.strikes(Outage, call)
        if outage is not None:
            if outage.manner == "refuse":
                return _close(request)
            if outage.manner == "hang":
                return await _hang(request, 3600)
            return json_answer(b"<html><body>503 Service Temporarily Unavailable</body></html>", 503)
        hang = self.faults.strikes(Hang, call)
        if hang is not None:
            return await _hang(request, hang.seconds)
        slow = self.faults.strikes(Slow, call)
        if slow is not None:
            await asyncio.sleep(slow.seconds)
        limited = self.faults.strikes(RateLimit, call)
        if limited is not None:
            until = self.clock.now_ms() + limited.retry_after * 1000
            verdict = Admission(self.limits.limit, limited.status, limited.retry_after, until)
            return _too_many(verdict, self.limits.limit, {"X-MBX-USED-WEIGHT-1M": str(self.limits.limit)})
        error = self.faults.strikes(ServerError, call)
        if error is not None:
            return json_answer(
                {"code": -1000, "msg": "An unknown error occurred while processing the request."}, error.status
            )
        return None

    async def _spoiled(self, request: web.Request, call: Call, response: web.StreamResponse) -> web.StreamResponse:
        """Apply faults that damage an answer."""
        malformed = self.faults.strikes(Malformed, call)
        if malformed is not None:
            return web.Response(text=malformed.body, content_type="application/json")
        if isinstance(response, web.Response) and response.status == 200 and isinstance(response.body, bytes):
            spoiled = self.faults.strikes(BadRows, call) if call.endpoint in ("klines", "aggTrades") else None
            if spoiled is not None:
                response.body = spoil_body(spoiled, response.body)
        truncated = self.faults.strikes(Truncated, call)
        if truncated is None or not isinstance(response, web.Response) or not isinstance(response.body, bytes):
            return response
        cut = web.StreamResponse(status=response.status, headers=response.headers)
        cut.content_length = len(response.body)
        await cut.prepare(request)
        await cut.write(response.body[: int(len(response.body) * truncated.share)])
        if request.transport is not None:
            request.transport.close()
        return cut


def _call(request: web.Request) -> Call:
    if request.path.startswith("/data/"):
        match = request.match_info
        return Call("archive", match.get("symbol"), match.get("interval"))
    if request.path.startswith(("/stream", "/ws", "/playback/")):
        return Call("stream")
    query = request.query
    if request.path.startswith(FRED_PATHS):
        return Call("fred", query.get("series_id") or query.get("id"))
    if request.path.startswith(MASSIVE_PATHS):
        return Call("massive", request.match_info.get("ticker") or query.get("ticker"))
    return Call(request.path.rpartition("/")[2], query.get("symbol"), query.get("interval"))


def _too_many(verdict: Admission, limit: int, headers: dict[str, str]) -> web.Response:
    if verdict.status == 418:
        text = f"Way too much request weight used; IP banned until {verdict.banned_until}. "
        text += "Please use WebSocket Streams for live updates to avoid bans."
    else:
        text = f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        text += "Please use WebSocket Streams for live updates to avoid polling the API."
    headers = headers | {"Retry-After": str(verdict.retry_after)}
    return json_answer({"code": -1003, "msg": text}, verdict.status, headers)


def _close(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


async def _hang(request: web.Request, seconds: float) -> web.StreamResponse:
    await asyncio.sleep(seconds)
    return _close(request)
