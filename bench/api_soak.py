"""A long run of the HTTP program: its memory, its connections, and the correctness of its answers while bars change.

    python bench/api_soak.py [--minutes 10] [--clients 24] [--rate 250]

A store of its own with 20 instruments, the supervised program in a process of its own, a writer that gives the newest
hour of one instrument after the other a new generation (all sixty bars with one volume, in one transaction), and
clients that ask for it in every form. An answer is right when it is of one generation, and of none older than was
committed by the time that it states (X-As-Of). Beside them go wrong requests and clients that hang up half-way.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import polars as pl
from common import machine, numbers, table
from read_load import answering

from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.host.ports import free_port
from crypto_pipeline.store import EmbeddedServer, Store, migrate

NAMES = [f"A{number:03d}-USDT" for number in range(20)]
MINUTE = timedelta(minutes=1)
END = datetime.now(UTC).replace(second=0, microsecond=0)
BEGIN = END - 60 * MINUTE
#: This machine's clock as seen by two processes.
TICK = 0.005
WRONG = ("/bars/NOPE?timeframe=1m&last=1", "/bars/A000-USDT?timeframe=9m&last=1", "/nothing", "/latest?instruments=%00")
FORMS = ("application/json", "text/csv", "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet")


class Generations:
    """The writer, and its commits with their times."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.committed: dict[str, list[tuple[float, int]]] = {name: [(0.0, 0)] for name in NAMES}
        self.stop = threading.Event()

    def write(self, name: str) -> None:
        number = self.committed[name][-1][1] + 1
        count = 60
        rows = pl.DataFrame(
            {
                "instrument": [name] * count, "open_time": [BEGIN + minute * MINUTE for minute in range(count)],
                **{price: [100.0 + minute for minute in range(count)] for price in ("open", "high", "low", "close")},
                "volume": [float(number)] * count, "quote_volume": [None] * count, "taker_buy_volume": [None] * count,
                "trade_count": [None] * count, "source": ["venue_historical"] * count, "complete": [True] * count,
                "revision": [END + timedelta(seconds=number)] * count,
            }
        )  # fmt: skip
        self.store.bars.write(rows, Timeframe.M1)
        self.committed[name].append((time.time(), number))

    def run(self) -> None:
        for number in range(10**9):
            self.write(NAMES[number % len(NAMES)])
            if self.stop.wait(0.05):
                return

    def at(self, name: str, moment: float) -> int:
        return next(number for when, number in reversed(self.committed[name]) if when <= moment)


class Clients:
    def __init__(self, port: int, generations: Generations, options: argparse.Namespace) -> None:
        self.base, self.port, self.generations = f"http://127.0.0.1:{port}", port, generations
        self.pause = options.clients / options.rate
        self.until = time.monotonic() + options.minutes * 60
        self.count, self.count_all = options.clients, Counter[str]()
        self.wrong: list[str] = []
        self.took: list[float] = []

    async def run(self) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(self._one(session, random.Random(seed)) for seed in range(self.count)))

    async def _one(self, session: aiohttp.ClientSession, rng: random.Random) -> None:
        while time.monotonic() < self.until:
            dice = rng.random()
            if dice < 0.02:
                await self._hang_up(rng)
            elif dice < 0.05:
                async with session.get(self.base + rng.choice(WRONG)) as answer:
                    self._note("refused", 400 <= answer.status < 500, str(answer.status))
            else:
                await self._ask(session, rng)
            await asyncio.sleep(self.pause * 2 * rng.random())

    async def _ask(self, session: aiohttp.ClientSession, rng: random.Random) -> None:
        name, form = rng.choice(NAMES), rng.choice((FORMS[0], FORMS[0], FORMS[0], *FORMS))
        span = rng.choice(("last=60", f"start={BEGIN:%Y-%m-%dT%H:%MZ}&end={END:%Y-%m-%dT%H:%MZ}", "random", "latest"))
        if span == "random":  # nothing of it can be kept
            begin = BEGIN - timedelta(minutes=rng.randrange(1, 60_000), seconds=rng.randrange(60))
            span = f"start={begin:%Y-%m-%dT%H:%M:%SZ}&end={END:%Y-%m-%dT%H:%MZ}&limit=50000"
        address = f"/bars/{name}?timeframe=1m&{span}" if span != "latest" else f"/latest?instruments={name}"
        begun = time.perf_counter()
        async with session.get(self.base + address, headers={"accept": form}) as answer:
            body = await answer.read()
            self.took.append(time.perf_counter() - begun)
            if answer.status != 200:
                self._note("answered", False, f"{address}: {answer.status} {body[:200]!r}")
                return
            volumes = of_form(body, form)
            as_of = datetime.fromisoformat(answer.headers["X-As-Of"]).timestamp()
        enough = len(volumes) == (1 if span == "latest" else 60)
        fresh = len(set(volumes)) == 1 and volumes[0] >= self.generations.at(name, as_of - TICK)
        self._note("answered", enough and fresh, f"{address} {form}: {len(volumes)} bars, {set(volumes)}")

    async def _hang_up(self, rng: random.Random) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        words = f"GET /bars/{rng.choice(NAMES)}?timeframe=1m&start=2020-01-01 HTTP/1.1\r\nhost: x\r\n\r\n".encode()
        writer.write(words[: rng.randrange(len(words) + 1)])
        await writer.drain()
        if rng.random() < 0.5:
            writer.close()  # the others are left half-open, until the server ends them
        else:
            self.held = [*getattr(self, "held", [])[-50:], writer]
        self._note("hung up", True, "")

    def _note(self, what: str, right: bool, said: str) -> None:
        self.count_all[what] += 1
        if not right:
            self.wrong.append(said)


def of_form(body: bytes, form: str) -> list[float]:
    """The volumes in an answer."""
    match FORMS.index(form):
        case 0:
            return [row["volume"] for row in json.loads(body)["bars"]]
        case 1:
            return pl.read_csv(io.BytesIO(body))["volume"].to_list()
        case 2:
            return pl.read_ipc_stream(io.BytesIO(body))["volume"].to_list()
        case _:
            return pl.read_parquet(io.BytesIO(body))["volume"].to_list()


def sample(pid: int, store: Store) -> tuple[float, int, int, int, float]:
    """MiB of memory, files and threads of the program; its connections, and seconds of the oldest statement."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = {line.split(":")[0]: line.split()[1] for line in status if len(line.split()) > 1}
    count, oldest = store.connections.row(
        "SELECT count(*), coalesce(max(extract(epoch FROM clock_timestamp() - query_start)) "
        "FILTER (WHERE state <> 'idle'), 0)::float8 FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE 'crypto_pipeline%' AND pid <> pg_backend_pid()"
    )
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return int(values["VmRSS"]) / 1024, files, int(values["Threads"]), count, oldest


def soak(folder: Path, url: str, options: argparse.Namespace) -> None:
    port = free_port("127.0.0.1")
    # a small cache, which is full after a minute: what grows then is a leak
    os.environ.setdefault("CRYPTO_PIPELINE_API_CACHE_MB", "8")
    command = [sys.executable, "-m", "crypto_pipeline.cli", "_api", "--port", str(port), "--data-dir", str(folder)]
    with Store(url) as store:
        store.instruments.add([Instrument.crypto(name) for name in NAMES])
        generations = Generations(store)
        for name in NAMES:
            generations.write(name)
        program = subprocess.Popen(command, env=os.environ)
        writer = threading.Thread(target=generations.run)
        samples: list[tuple[float, Any]] = []
        try:
            asyncio.run(answering(port))
            clients = Clients(port, generations, options)
            writer.start()
            begin = time.monotonic()
            asking = threading.Thread(target=asyncio.run, args=(clients.run(),))
            asking.start()
            while asking.is_alive():
                asking.join(5)
                samples.append(((time.monotonic() - begin) / 60, sample(program.pid, store)))
        finally:
            generations.stop.set()
            writer.join()
            time.sleep(1)
            after = sample(program.pid, store)
            program.terminate()
            program.wait(20)
        report(samples, after, clients, sum(each[-1][1] for each in generations.committed.values()))


def report(samples: list[tuple[float, Any]], after: Any, clients: Clients, written: int) -> None:
    lines: list[list[object]] = []
    for minute in range(int(samples[-1][0]) + 1):
        some = [values for at, values in samples if minute <= at < minute + 1]
        if some:
            most = [max(values[place] for values in some) for place in range(5)]
            lines.append([minute + 1, f"{most[0]:.0f}", *most[1:4], f"{most[4]:.2f}"])
    lines.append(["idle after", f"{after[0]:.0f}", *after[1:4], f"{after[4]:.2f}"])
    table(["minute", "MiB, at most", "files", "threads", "connections", "oldest statement s"], lines)
    took = sorted(clients.took)
    print(
        f"\n{dict(clients.count_all)}, {written:,} generations written; p50 {took[len(took) // 2] * 1000:.1f} ms, "
        f"p99 {took[int(len(took) * 0.99)] * 1000:.1f} ms; wrong: {len(clients.wrong)} {clients.wrong[:5]}"
    )


def main() -> None:
    parser = numbers(__doc__, minutes=10.0, clients=24)
    parser.add_argument("--rate", type=float, default=250.0, help="requests a second of all clients, at most")
    options = parser.parse_args()
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder)).running() as url:
        migrate(url)
        soak(Path(folder), url, options)


if __name__ == "__main__":
    main()
