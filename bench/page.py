"""The live page as files and over a day: bytes, first paint, and the heap of a tab over 24 simulated hours.

    python bench/page.py http://127.0.0.1:8790 [--hours 24]

The server is a deployment that runs. For the day the clock and the timers of the page go 100 times as fast. HTTP is the
deployment's. The stream's frames are made here, as fast: every 10 s a price of each instrument, a forming bar and a
heartbeat, in every minute a stored bar. Without --compile the browser does not optimise what it runs:
machine code would count as heap.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import uvicorn
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from crypto_pipeline.ops.host.ports import free_port

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
LOADS = 9
#: Seconds of the simulated day between two prices.
STEP = 10
#: A telephone: a processor four times slower, 9 Mbit/s, 60 ms.
_TELEPHONE = {"offline": False, "latency": 60, "downloadThroughput": 9e6 / 8, "uploadThroughput": 1e6 / 8}
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


def transferred(browser: Browser, url: str) -> tuple[int, int]:
    """Bytes of the page's own files on a first visit, as they travel, and how many files."""
    context = browser.new_context()
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    files: dict[str, str] = {}
    sizes: dict[str, float] = {}
    session.on("Network.responseReceived", lambda event: files.update({event["requestId"]: event["response"]["url"]}))
    session.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    page.goto(url, wait_until="networkidle")
    own = [key for key, address in files.items() if address == f"{url}/" or f"{url}/web/" in address]
    context.close()
    return int(sum(sizes.get(key, 0) for key in own)), len(own)


def first_paint(browser: Browser, url: str, *, telephone: bool) -> dict[str, list[float]]:
    """Milliseconds of first visits until something is painted, the watchlist has rows, and the chart has candles."""
    found: dict[str, list[float]] = {"paint": [], "watchlist": [], "chart": []}
    for _ in range(LOADS):
        context = browser.new_context(viewport={"width": 390, "height": 844} if telephone else None)
        page = context.new_page()
        if telephone:
            session = context.new_cdp_session(page)
            session.send("Network.enable")
            session.send("Network.emulateNetworkConditions", _TELEPHONE)
            session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
        began = time.monotonic()
        page.goto(url, wait_until="commit")
        page.locator("#watchlist-rows tr").first.wait_for()
        found["watchlist"].append(1000 * (time.monotonic() - began))
        while not page.evaluate("(window.page?.chart.drawn().bars ?? []).length"):
            page.wait_for_timeout(5)
        found["chart"].append(1000 * (time.monotonic() - began))
        found["paint"].append(page.evaluate(_PAINT))
        context.close()
    return found


class FastDay:
    """A server in front of the deployment whose stream goes ``speed`` times as fast as the clock. Everything else is
    the deployment's answer.
    """

    def __init__(self, url: str, names: list[str], speed: float) -> None:
        self.names, self.speed, self.began = names, speed, time.time()
        self.frames, self.connections, self.answers = 0, 0, 0
        self.begin_ms = int(self.began) // 60 * 60_000
        self._client = httpx.AsyncClient(base_url=url, timeout=60)
        methods = ["GET", "POST"]
        routes = [
            WebSocketRoute("/stream", self._stream),
            # at once: a page whose clock is so fast would not wait for the deployment
            Route("/stream/ticket", lambda _: JSONResponse({"ticket": "bench"}), methods=methods),
            Route("/{path:path}", self._pass_on, methods=methods),
        ]
        self.port = free_port("127.0.0.1")
        config = uvicorn.Config(Starlette(routes=routes), port=self.port, log_level="warning", access_log=False)
        self._server = uvicorn.Server(config)
        threading.Thread(target=self._server.run, daemon=True).start()
        while not self._server.started:
            time.sleep(0.01)  # uvicorn tells nobody

    @property
    def now_ms(self) -> int:
        """The simulated time."""
        return self.begin_ms + int((time.time() - self.began) * 1000 * self.speed)

    @property
    def script(self) -> str:
        """Makes clock and timers of a page as fast."""
        return f"""(() => {{
          const speed = {self.speed}, real = Date, at = setTimeout, every = setInterval;
          const now = () => Math.floor({self.begin_ms} + (real.now() - {self.began * 1000:.0f}) * speed);
          globalThis.Date = class extends real {{
            constructor(...given) {{ given.length ? super(...given) : super(now()); }}
            static now() {{ return now(); }}
          }};
          globalThis.setTimeout = (work, ms = 0, ...given) => at(work, ms / speed, ...given);
          globalThis.setInterval = (work, ms = 0, ...given) => every(work, ms / speed, ...given);
        }})()"""

    def stop(self) -> None:
        """End the server."""
        self._server.should_exit = True

    async def _pass_on(self, request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if name in ("accept", "content-type")}
        self.answers += 1
        asked = f"{request.url.path}?{request.url.query}"
        answer = await self._client.request(request.method, asked, headers=headers, content=await request.body())
        kept = {name: value for name, value in answer.headers.items() if name in ("content-type", "cache-control")}
        return Response(answer.content, answer.status_code, kept)

    async def _stream(self, socket: WebSocket) -> None:
        await socket.accept()
        self.connections += 1
        numbers: dict[str, int] = {}

        async def send(frame: dict[str, Any]) -> None:
            self.frames += 1
            await socket.send_text(json.dumps(frame))

        async def listen() -> None:
            while True:
                message = json.loads(await socket.receive_text())
                for one in message["channels"]:
                    if message["op"] == "unsubscribe":
                        numbers.pop(one, None)
                    else:
                        numbers[one["channel"]] = 0
                        await send({"type": "snapshot", "channel": one["channel"], "seq": 0, "rows": []})

        now = self.now_ms // (STEP * 1000) * STEP * 1000
        await send({"type": "hello", "protocol": 1, "epoch": "bench", "time": now, "market_time": now})
        listening = asyncio.create_task(listen())
        try:
            while not listening.done():
                now += STEP * 1000
                for channel, rows in self._step(list(numbers), now):
                    numbers[channel] += 1
                    await send({"type": "delta", "channel": channel, "seq": numbers[channel], "rows": rows})
                await send({"type": "heartbeat", "time": now, "market_time": now, "database": "ok"})
                await asyncio.sleep(max(0.0, (now - self.now_ms) / 1000 / self.speed))
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            listening.cancel()

    def _step(self, channels: list[str], now: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """What STEP seconds bring: a price of each instrument, a forming bar; in each minute a bar."""
        price = 100.0 + now // 1000 % 97 / 10
        bar = {"open": price, "high": price, "low": price, "close": price, "volume": 1.0, "trade_count": 1}
        opened = now - now % 60_000
        for channel in channels:
            kind, *rest = channel.split("/")
            if kind == "prices":
                named = {"price": price, "time": now, "trade_id": None, "source": "live_aggregated"}
                yield channel, [{"instrument": name, **named} for name in self.names]
            elif kind == "forming" and rest[1] == "1m":
                state = {"source": "forming", "complete": False, "price": price, "time": now}
                yield channel, [{"open_time": opened, **bar, **state}]
            elif kind == "bars" and rest[1] == "1m" and now == opened:
                state = {"source": "live_aggregated", "complete": True}
                yield channel, [{"open_time": opened - 60_000, **bar, **state}]


def heap(session: CDPSession) -> dict[str, float]:
    """Used heap in MB after a collection of garbage, and what the document holds."""
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"] / 1e6
    counted = session.send("Memory.getDOMCounters")
    return {"heap_mb": round(used, 2), "nodes": counted["nodes"], "listeners": counted["jsEventListeners"]}


def a_day(
    browser: Browser, url: str, hours: float, speed: float, told: Callable[[str], None]
) -> list[dict[str, float]]:
    """The heap once an hour. While the day goes on nothing is evaluated in the page: that would itself stay in it."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page: Page = context.new_page()
    names = [row["instrument"] for row in httpx.get(f"{url}/watchlist").json()["rows"]]
    day = FastDay(url, names, speed)
    page.add_init_script(day.script)
    page.goto(f"http://127.0.0.1:{day.port}/#/{names[0]}/1m")
    page.locator("#watchlist-rows tr").first.wait_for()
    session = context.new_cdp_session(page)
    found: list[dict[str, float]] = []
    while day.now_ms - day.begin_ms < hours * 3_600_000:
        hour = len(found) + 0.5
        page.wait_for_timeout(max(0.0, day.begin_ms + hour * 3_600_000 - day.now_ms) / speed)
        counts = {"frames": day.frames, "connections": day.connections, "answers": day.answers}
        found.append({"hour": round((day.now_ms - day.begin_ms) / 3_600_000, 1), **counts, **heap(session)})
        told(str(found[-1]))
    context.close()
    day.stop()
    return found


def main() -> None:
    """Measure all, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--compile", action="store_true", help="let the browser optimise what it runs")
    parser.add_argument("--speed", type=float, default=100.0, help="of the simulated day")
    given = parser.parse_args()
    url = given.url.rstrip("/")
    browser_path = next(path for name in CHROMIUM if (path := shutil.which(name)))
    with sync_playwright() as play:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]
        browser = play.chromium.launch(executable_path=browser_path, args=options)
        plain = [] if given.compile else ["--js-flags=--no-opt --no-maglev --no-sparkplug"]
        size, files = transferred(browser, url)
        print(f"page: {size / 1000:.0f} kB in {files} files, as they travel", flush=True)
        for telephone in (False, True):
            for name, values in first_paint(browser, url, telephone=telephone).items():
                where = "telephone" if telephone else "desk"
                print(
                    f"{where} {name}: median {statistics.median(values):.0f} ms, most {max(values):.0f} ms", flush=True
                )
        if given.hours > 0:
            browser.close()
            browser = play.chromium.launch(executable_path=browser_path, args=[*options, *plain])
            hourly = a_day(browser, url, given.hours, given.speed, lambda line: print(line, flush=True))
            first, last = hourly[0]["heap_mb"], hourly[-1]["heap_mb"]
            print(f"heap over {given.hours:g} h: {first:.2f} to {last:.2f} MB, {last / first - 1:+.1%}", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
