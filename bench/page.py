"""The live page as files and over a day: bytes, first paint, and the heap of a tab over 24 simulated hours.

    python bench/page.py http://127.0.0.1:8790 [--hours 24]

The server is a deployment that runs. For the day the page's clock is Playwright's, which goes as fast as the page can
follow. HTTP is the deployment's. The stream's frames are made here: in every second a price of each instrument
and a forming bar, in every minute a stored bar, and a heartbeat every 10 s.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import time
from collections.abc import Callable
from typing import Any

import httpx
from playwright.sync_api import Browser, CDPSession, Page, WebSocketRoute, sync_playwright

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
LOADS = 9
STEP = 10  # seconds of the simulated day between two looks
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


class SimulatedStream:
    """Frames of a server that goes by the page's clock."""

    def __init__(self, names: list[str], begin_ms: int) -> None:
        self.names, self.now, self.seq = names, begin_ms, dict[str, int]()
        self.socket: WebSocketRoute | None = None
        self.frames = 0

    def opened(self, socket: WebSocketRoute) -> None:
        """A page connected."""
        self.socket, self.seq = socket, {}
        socket.on_message(lambda text: self._asked(json.loads(text)))
        self._send({"type": "hello", "protocol": 1, "epoch": "bench", "time": self.now, "market_time": self.now})

    def _asked(self, message: dict[str, Any]) -> None:
        for one in message["channels"]:
            if message["op"] == "unsubscribe":
                self.seq.pop(one, None)
            else:
                self.seq[one["channel"]] = 0
                self._send({"type": "snapshot", "channel": one["channel"], "seq": 0, "rows": []})

    def _send(self, frame: dict[str, Any]) -> None:
        assert self.socket is not None
        self.frames += 1
        self.socket.send(json.dumps(frame))

    def _delta(self, channel: str, rows: list[dict[str, Any]]) -> None:
        self.seq[channel] += 1
        self._send({"type": "delta", "channel": channel, "seq": self.seq[channel], "rows": rows})

    def step(self) -> None:
        """STEP seconds have passed."""
        for second in range(STEP):
            self.now += 1000
            price = 100.0 + (self.now // 1000) % 97 / 10
            for channel in list(self.seq):
                kind, *rest = channel.split("/")
                bar = {"open": price, "high": price, "low": price, "close": price, "volume": 1.0, "trade_count": 1}
                if kind == "prices":
                    named = {"price": price, "time": self.now, "trade_id": None, "source": "live_aggregated"}
                    self._delta(channel, [{"instrument": name, **named} for name in self.names])
                elif kind == "forming" and rest[1] == "1m":
                    state = {"source": "forming", "complete": False, "price": price, "time": self.now}
                    self._delta(channel, [{"open_time": self.now - self.now % 60_000, **bar, **state}])
                elif kind == "bars" and rest[1] == "1m" and self.now % 60_000 < 1000 and second < STEP:
                    state = {"source": "live_aggregated", "complete": True}
                    self._delta(channel, [{"open_time": self.now - self.now % 60_000 - 60_000, **bar, **state}])
        self._send({"type": "heartbeat", "time": self.now, "market_time": self.now, "database": "ok"})


def heap(session: CDPSession) -> dict[str, float]:
    """Used heap in MB after a collection of garbage, and what the document holds."""
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"] / 1e6
    counted = session.send("Memory.getDOMCounters")
    return {"heap_mb": used, "nodes": counted["nodes"], "listeners": counted["jsEventListeners"]}


def a_day(browser: Browser, url: str, hours: float, told: Callable[[str], None]) -> list[dict[str, float]]:
    """The heap once an hour."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page: Page = context.new_page()
    names = [row["instrument"] for row in httpx.get(f"{url}/watchlist").json()["rows"]]
    begin = int(time.time()) // 60 * 60
    stream = SimulatedStream(names, begin * 1000)
    page.route_web_socket(re.compile("/stream"), stream.opened)
    page.clock.install(time=begin)
    page.goto(f"{url}/#/{names[0]}/1m")
    page.clock.run_for(1_000)
    page.locator("#watchlist-rows tr").first.wait_for()
    session = context.new_cdp_session(page)
    found: list[dict[str, float]] = []
    steps = int(hours * 3600 / STEP)
    for step in range(steps + 1):
        page.clock.run_for(STEP * 1000)
        stream.step()
        if step % (3600 // STEP) == 3600 // STEP // 6:  # ten minutes past the hour: all has been drawn once
            page.wait_for_load_state("networkidle")
            found.append({"hour": round(step * STEP / 3600, 2), "frames": stream.frames, **heap(session)})
            told(str(found[-1]))
    context.close()
    return found


def main() -> None:
    """Measure all, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--hours", type=float, default=24.0)
    given = parser.parse_args()
    url = given.url.rstrip("/")
    browser_path = next(path for name in CHROMIUM if (path := shutil.which(name)))
    with sync_playwright() as play:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]
        browser = play.chromium.launch(executable_path=browser_path, args=options)
        size, files = transferred(browser, url)
        print(f"page: {size / 1000:.0f} kB in {files} files, as they travel", flush=True)
        for telephone in (False, True):
            for name, values in first_paint(browser, url, telephone=telephone).items():
                where = "telephone" if telephone else "desk"
                print(
                    f"{where} {name}: median {statistics.median(values):.0f} ms, most {max(values):.0f} ms", flush=True
                )
        if given.hours > 0:
            hourly = a_day(browser, url, given.hours, lambda line: print(line, flush=True))
            first, last = hourly[0]["heap_mb"], hourly[-1]["heap_mb"]
            print(f"heap over {given.hours:g} h: {first:.2f} to {last:.2f} MB, {last / first - 1:+.1%}", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
