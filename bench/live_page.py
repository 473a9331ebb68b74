"""The live page under load: milliseconds from a trade to the canvas, and frames a second.

    python bench/live_page.py [--instruments 100] [--intensity 100] [--seconds 60] [--warm 20]

Exchange, PostgreSQL (durability on), ingest, API and Chromium are processes of this machine. Venue time is real time,
so a trade's own time can be compared with the moment at which the canvas was painted with it. Each painting counts for
the newest trade of its bar. Prices of all instruments come beside it, and count when the frame after them was made.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import httpx
from common import MIB, machine, numbers, postgres, table
from ingest import SERVE, add_instruments, quantile
from playwright.sync_api import Page, sync_playwright

from crypto_pipeline.ops.host.ports import free_port
from crypto_pipeline.store import Store, migrate
from crypto_pipeline.store.database.connect import ensure_databases

API = (
    "import sys; from crypto_pipeline.api.serve import serve; from crypto_pipeline.settings import load_settings;"
    "serve(load_settings(), sys.argv[1])"
)
#: Records paintings, prices and frames from now on.
RECORD = """
async () => {
  const { openStream } = await import("/web/js/stream.js");
  const { chart } = document.getElementById("chart");
  const found = (window.found = { chart: [], prices: [], frames: [], heard: 0 });
  let pending = null;
  const frame = (at) => {
    found.frames.push(at);
    const { bar, paintedAt } = chart.newest();
    if (pending && paintedAt > pending.seen) {
      found.chart.push(performance.timeOrigin + paintedAt - pending.time);
      pending = null;
    }
    if (!pending && bar?.time && bar.time !== found.last) {
      found.last = bar.time;
      pending = { time: bar.time, seen: performance.now() };
    }
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  const rows = (changed) => {
    found.heard += changed.length;
    requestAnimationFrame(() => {
      const now = performance.timeOrigin + performance.now();
      for (const row of changed) found.prices.push(now - row.time);
    });
  };
  openStream({}).subscribe("prices", { snapshot: () => {}, delta: rows });
}
"""


@contextmanager
def running(given: argparse.Namespace) -> Iterator[tuple[Store, str, int]]:
    """Exchange, database, ingest and API; the store, the address of the API, and how many instruments there are."""
    with postgres() as server, tempfile.TemporaryDirectory() as folder:
        url = server.url("crypto_pipeline")
        ensure_databases(url, ["crypto_pipeline"])
        migrate(url)
        command = [sys.executable, "-c", SERVE, str(given.instruments), str(given.intensity), "1"]
        exchange = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert exchange.stdout is not None
        port, api_port = int(exchange.stdout.readline().split()[2].rsplit(":", 1)[1]), free_port("127.0.0.1")
        environment = os.environ | {
            "CRYPTO_PIPELINE_DATA_DIR": folder, "CRYPTO_PIPELINE_DATABASE_URL": url, "CRYPTO_PIPELINE_VENUE": "replay",
            "CRYPTO_PIPELINE_REPLAY_PORT": str(port), "CRYPTO_PIPELINE_API_PORT": str(api_port),
        }  # fmt: skip
        with Store(url) as store:
            count = add_instruments(store, port)
            programs = [exchange] + [
                subprocess.Popen([sys.executable, *arguments], env=environment, stderr=subprocess.DEVNULL)
                for arguments in (["-m", "crypto_pipeline.ingest"], ["-c", API, url])
            ]
            try:
                yield store, f"http://127.0.0.1:{api_port}", count
            finally:
                for program in reversed(programs):
                    program.terminate()
                    program.wait(30)


def wait_until_live(store: Store, address: str) -> None:
    while (beat := store.heartbeats.get("ingest-0")) is None or beat.detail["state"] != "live":
        time.sleep(0.2)
    while True:
        try:
            if httpx.get(f"{address}/health/simple").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)


def stored(store: Store) -> tuple[int, float]:
    beat = store.heartbeats.get("ingest-0")
    assert beat is not None
    return int(beat.detail["stored"]), float(beat.detail["age"])


def frames(times: list[float]) -> tuple[float, float, float]:
    """Frames a second, those of the slowest second, and the longest frame in milliseconds."""
    seconds: dict[int, int] = {}
    for at in times:
        seconds[int(at // 1000)] = seconds.get(int(at // 1000), 0) + 1
    whole = [seconds.get(each, 0) for each in range(min(seconds) + 1, max(seconds))]
    longest = max(later - earlier for earlier, later in pairwise(times))
    return len(times) / (times[-1] - times[0]) * 1000, min(whole), longest


def heap(page: Page) -> float:
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used: float = session.send("Runtime.getHeapUsage")["usedSize"]
    return used / MIB


def measure(given: argparse.Namespace, store: Store, address: str, count: int) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{address}/#/BTC-USDT/1m")
        time.sleep(given.warm)
        page.evaluate(RECORD)
        before, first = stored(store), heap(page)
        time.sleep(given.seconds)
        after, last = stored(store), heap(page)
        found: dict[str, Any] = page.evaluate("window.found")
        browser.close()
    rate, slowest, longest = frames(found["frames"])
    print(machine())
    table(
        ["instruments", "trades stored/s", "trade to canvas ms, median / p99 / most / paintings",
         "trade to price ms, median / p99 / most / prices", "frames/s, mean / slowest second", "longest frame ms",
         "heap MiB, first / last"],
        [[count, f"{(after[0] - before[0]) / (after[1] - before[1]):,.0f}", shown(found["chart"]),
          shown(found["prices"]), f"{rate:.0f} / {slowest:.0f}", f"{longest:.0f}", f"{first:.1f} / {last:.1f}"]],
    )  # fmt: skip


def shown(delays: list[float]) -> str:
    if not delays:
        return "none"
    return f"{quantile(delays, 0.5):.0f} / {quantile(delays, 0.99):.0f} / {max(delays):.0f} / {len(delays):,}"


if __name__ == "__main__":
    parser = numbers(__doc__, instruments=100, intensity=100, seconds=60.0, warm=20.0)
    given = parser.parse_args()
    with running(given) as (store, address, count):
        wait_until_live(store, address)
        measure(given, store, address, count)
