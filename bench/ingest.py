"""Speed of the live layer: trades per second from socket to store, time to a readable bar, time to a live price.

    python bench/ingest.py [--instruments 100] [--intensity 2000] [--seconds 60] [--speed 1]

The replay exchange, PostgreSQL (the product's settings, durability on) and ingest are three processes on this machine;
this one only asks the database. At speed 1 venue time is real time. Bars are looked for every 20 ms, from the end of
their minute on. What is told of ingest itself leaves out the time in which the venue settles: from the venue's own
closed bar, which comes up to 2 s after the minute, or from the minute's end where the next trade's id proved it before.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time

import psutil
import psycopg
from common import MIB, machine, numbers, postgres, table

from crypto_pipeline.market import Instrument
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, migrate
from crypto_pipeline.store.database.connect import ensure_databases
from crypto_pipeline.store.instruments import ListingRow
from crypto_pipeline.venues import make_venue

SERVE = (
    "from crypto_pipeline.replay import serve; import sys;"
    "serve(port=0, instruments=sys.argv[1], intensity=int(sys.argv[2]), speed=float(sys.argv[3]), weight_limit=0)"
)
NEWEST = """
SELECT i.instrument_id, (SELECT max(o.open_time) FROM market.ohlc_data o
    WHERE o.instrument_id = i.instrument_id AND o.timeframe = '1m' AND o.open_time > now() - interval '3 minutes')
FROM market.instruments i
"""


def add_instruments(store: Store, port: int) -> int:
    """Symbols that the exchange lists now."""

    async def ask() -> list[tuple[str, str]]:
        venue = make_venue(Settings(venue="replay", replay_port=port))
        try:
            rows = await venue.listings()
        finally:
            await venue.close()
        return [(f"{row.base}-{row.quote}", row.venue_symbol) for row in rows if row.status == "trading"]

    found = asyncio.run(ask())
    store.instruments.add([Instrument.crypto(name) for name, _ in found])
    store.instruments.set_listings("replay", [ListingRow(name, symbol) for name, symbol in found])
    return len(found)


class Watcher:
    """Reads the newest bars from the database, and records when each was first seen."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.known: dict[int, float] = {}
        self.delays: list[float] = []

    def look(self) -> None:
        for number, opened in self.connection.execute(NEWEST):
            if opened is None:
                continue
            end = opened.timestamp() + 60
            if number in self.known and end > self.known[number]:
                self.delays.append(time.time() - end)
            self.known[number] = max(end, self.known.get(number, 0.0))


def quantile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[int(part * (len(ordered) - 1))] if ordered else float("nan")


def seconds(ms: object) -> str:
    """Milliseconds that ingest states, in seconds; "none" where no bar settled in the time measured."""
    return "none" if ms is None else f"{float(str(ms)) / 1000:.2f}"


def run(given: argparse.Namespace) -> None:
    with postgres() as server, tempfile.TemporaryDirectory() as folder:
        url = server.url("crypto_pipeline")
        ensure_databases(url, ["crypto_pipeline"])
        migrate(url)
        command = [sys.executable, "-c", SERVE, str(given.instruments), str(given.intensity), str(given.speed)]
        exchange = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert exchange.stdout is not None
        port = int(exchange.stdout.readline().split()[2].rsplit(":", 1)[1])
        environment = os.environ | {
            "CRYPTO_PIPELINE_DATA_DIR": folder,
            "CRYPTO_PIPELINE_DATABASE_URL": url,
            "CRYPTO_PIPELINE_VENUE": "replay",
            "CRYPTO_PIPELINE_REPLAY_PORT": str(port),
            "CRYPTO_PIPELINE_REPLAY_SPEED": str(given.speed),
        }
        with Store(url) as store:
            count = add_instruments(store, port)
            ingest = subprocess.Popen(
                [sys.executable, "-m", "crypto_pipeline.ingest"], env=environment, stderr=subprocess.DEVNULL
            )
            try:
                measure(given, store, url, count, psutil.Process(ingest.pid), psutil.Process(exchange.pid))
            finally:
                for program in (ingest, exchange):
                    program.terminate()
                    program.wait(30)


def measure(
    given: argparse.Namespace, store: Store, url: str, count: int, ingest: psutil.Process, exchange: psutil.Process
) -> None:
    def detail() -> dict[str, object]:
        beat = store.heartbeats.get("ingest-0")
        return beat.detail if beat is not None else {"state": ""}

    while detail()["state"] != "live":
        time.sleep(0.2)
    time.sleep(given.warm)
    watcher = Watcher(url)
    first, began, used = detail(), time.monotonic(), ingest.cpu_times()
    memory, lags, worst, waiting = [ingest.memory_info().rss / MIB], [], [], []
    looked = 0.0
    while time.monotonic() - began < given.seconds:
        watcher.look()
        if time.monotonic() - looked > 2:
            looked, now = time.monotonic(), detail()
            lags.append(float(now["lag_ms"] or 0))
            worst.append(float(now["lag_ms_p99"] or 0))
            waiting.append(float(now["waiting"]))
            memory.append(ingest.memory_info().rss / MIB)
        time.sleep(0.02)
    last, took, now_used = detail(), time.monotonic() - began, ingest.cpu_times()
    cpu = (now_used.user + now_used.system - used.user - used.system) / took
    age = float(last["age"]) - float(first["age"])
    print(machine())
    table(
        ["instruments", "trades stored/s", "waiting, most", "trade to price ms, median / p99 of the longest in a flush",
         "bar readable s after the minute, median / p99 / bars", "bar stored s after it settled, median / p99",
         "ingest CPU", "RSS MiB, first / last / most"],
        [[count, f"{(int(last['stored']) - int(first['stored'])) / age:,.0f}", f"{max(waiting):,.0f}",
          f"{statistics.median(lags):.0f} / {max(worst):.0f}",
          f"{quantile(watcher.delays, 0.5):.2f} / {quantile(watcher.delays, 0.99):.2f} / {len(watcher.delays)}",
          f"{seconds(last['bar_lag_ms'])} / {seconds(last['bar_lag_ms_p99'])}",
          f"{cpu:.0%}", f"{memory[0]:.0f} / {memory[-1]:.0f} / {max(memory):.0f}"]],
    )  # fmt: skip
    print(f"counters: {last}")


if __name__ == "__main__":
    parser = numbers(__doc__, instruments=100, intensity=2000, speed=1.0, seconds=70.0, warm=10.0)
    run(parser.parse_args())
