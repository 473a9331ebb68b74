"""A tiny Binance that answers truthfully unless the script says otherwise. Real sockets, no clock tricks."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import time
import zipfile
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MODIFIED = "Mon, 02 Mar 2026 04:05:06 GMT"


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def kline(open_ms: int, width: int = 60_000) -> list[Any]:
    minute = open_ms // 60_000 % 977
    price = f"{100 + minute / 100:.8f}"
    high, low = f"{101 + minute / 100:.8f}", f"{99 + minute / 100:.8f}"
    return [open_ms, price, high, low, price, "2.50000000", open_ms + width - 1, "250.1", 7, "1.2", "120.5", "0"]


class ScriptedVenue:
    """``script(path, …)`` queues handlers that are used up before the true answers are given again."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.limit = 6000
        self.used = 0
        self.now: Callable[[], int] = lambda: int(time.time() * 1000)
        self.holes: set[int] = set()
        self.listed = ms(datetime(2020, 1, 1, tzinfo=UTC))
        self.files: dict[str, bytes] = {}
        self.checksums: dict[str, str] = {}
        self.trades: list[dict[str, Any]] = []
        self.page_cap = 1000
        self.in_flight = self.most_in_flight = 0
        self._scripts: dict[str, deque[Handler]] = defaultdict(deque)
        self._always: dict[str, Handler] = {}

    async def __aenter__(self) -> ScriptedVenue:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._runner.cleanup()

    def script(self, path: str, *handlers: Handler) -> None:
        self._scripts[path].extend(handlers)

    def always(self, path: str, handler: Handler | None) -> None:
        if handler is None:
            self._always.pop(path, None)
        else:
            self._always[path] = handler

    def count(self, path: str) -> int:
        return sum(1 for asked, _ in self.requests if asked == path)

    def publish(self, path: str, text: bytes, checksum: str | None = None) -> None:
        body = zipped(text)
        self.files[path] = body
        self.checksums[path] = checksum or hashlib.sha256(body).hexdigest()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, dict(request.query)))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self._scripts[request.path]:
                return await self._scripts[request.path].popleft()(request)
            if request.path in self._always:
                return await self._always[request.path](request)
            return self.true_answer(request)
        finally:
            self.in_flight -= 1

    def true_answer(self, request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/api/v3/time":
                return self._weighed({"serverTime": self.now()}, 1)
            case "/api/v3/exchangeInfo":
                limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": self.limit}
                return self._weighed({"serverTime": self.now(), "rateLimits": [limit], "symbols": []}, 20)
            case "/api/v3/klines":
                return self._weighed(self.klines(request.query), 2)
            case "/api/v3/aggTrades":
                return self._weighed(self.agg_trades(request.query), 4)
            case path if path.endswith(".CHECKSUM") and path[:-9] in self.files:
                name = path[:-9]
                return web.Response(text=f"{self.checksums[name]}  {name.rsplit('/', 1)[1]}\n")
            case path if path in self.files:
                return web.Response(body=self.files[path], headers={"Last-Modified": MODIFIED})
        return web.Response(status=404, text="no such thing")

    def klines(self, query: Any) -> list[list[Any]]:
        width = {"1m": 60_000, "5m": 300_000, "1h": 3_600_000, "1w": 604_800_000}[query["interval"]]
        shift = 4 * 86_400_000 if query["interval"] == "1w" else 0
        start = max(int(query.get("startTime", 0)), self.listed)
        first = -(-(start - shift) // width) * width + shift
        last = min(int(query.get("endTime", self.now())), self.now())
        rows: list[list[Any]] = []
        cap = min(int(query.get("limit", 500)), self.page_cap)
        while first <= last and len(rows) < cap:
            if first not in self.holes:
                rows.append(kline(first, width))
            first += width
        return rows

    def agg_trades(self, query: Any) -> list[dict[str, Any]]:
        limit = int(query.get("limit", 500))
        if "fromId" in query:
            return [row for row in self.trades if row["a"] >= int(query["fromId"])][:limit]
        if "startTime" in query:
            return [row for row in self.trades if row["T"] >= int(query["startTime"])][:limit]
        return [row for row in self.trades if row["T"] <= int(query["endTime"])][-limit:]

    def _weighed(self, document: Any, weight: int) -> web.Response:
        self.used += weight
        response = web.Response(
            body=json.dumps(document).encode(),
            content_type="application/json",
            headers={"X-MBX-USED-WEIGHT-1M": str(self.used)},
        )
        response.enable_compression()
        return response


def zipped(text: bytes, name: str = "file.csv") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, text)
    return out.getvalue()


def csv_of(start: datetime, end: datetime, *, micro: bool = False, header: bool = False, skip: Any = ()) -> bytes:
    lines = ["open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,tbq,ignore"]
    lines = lines if header else []
    while start < end:
        row = kline(ms(start))
        if row[0] not in skip:
            if micro:
                row[0], row[6] = row[0] * 1000, row[6] * 1000 + 999
            lines.append(",".join(map(str, row)))
        start += timedelta(minutes=1)
    return ("\n".join(lines) + "\n").encode()


def status(code: int, body: str = "", **headers: str) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(
            status=code, text=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    return handler


def body(text: str | bytes) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=text.encode() if isinstance(text, str) else text, content_type="application/json")

    return handler


async def truncated(request: web.Request) -> web.StreamResponse:
    """Promises more than it sends, then closes the connection."""
    response = web.StreamResponse(headers={"Content-Length": "100000"})
    await response.prepare(request)
    await response.write(b'[[1634943780000,"1"')
    assert request.transport is not None
    request.transport.close()
    return response


async def hanging(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def dropped(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
