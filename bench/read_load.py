"""A hundred concurrent clients that read 60 bars of random instruments by HTTP and by the Python reader.

    python bench/read_load.py BIG [--seconds 10] [--clients 100]

BIG is a folder of `bench/big_store.py`. The server is the supervised program itself, in a process of its own; clients
are one process with keep-alive connections, each sending its next request when the answer before is complete. Server,
database and clients share the machine's cores. ``cold``: every request asks for another span, so that nothing is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop
from common import machine, table
from reads import last_midnight, names, quantile

from crypto_pipeline import Reader
from crypto_pipeline.ops.host.ports import free_port
from crypto_pipeline.store import EmbeddedServer, migrate


class Client(asyncio.Protocol):
    """One keep-alive connection that sends requests continuously."""

    def __init__(self, load: Load) -> None:
        self.load, self.buffer, self.need = load, b"", -1
        self.transport: Any = None
        self.begin = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.begin = time.perf_counter()
        self.transport.write(self.load.request())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.need < 0:
            head = self.buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            at = self.buffer.find(b"content-length: ") + 16
            self.need = head + 4 + int(self.buffer[at : self.buffer.index(b"\r", at)])
        if len(self.buffer) >= self.need:
            self.load.done(time.perf_counter() - self.begin, self.buffer)
            self.buffer, self.need = b"", -1
            if time.perf_counter() < self.load.until:
                self.ask()
            else:
                self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self.load.failures += 1
        self.load.left -= 1
        if self.load.left == 0:
            self.load.over.set()


class Load:
    """State shared by all clients."""

    def __init__(self, port: int, clients: int, seconds: float, paths: list[str]) -> None:
        self.port, self.left, self.clients, self.paths = port, clients, clients, paths
        self.seconds, self.until, self.failures = seconds, 0.0, 0
        self.took: list[float] = []
        self.over: asyncio.Event
        self._rng = random.Random(1)

    def request(self) -> bytes:
        path = self._rng.choice(self.paths)
        return f"GET {path} HTTP/1.1\r\nhost: x\r\naccept: application/json\r\n\r\n".encode()

    def done(self, took: float, answer: bytes) -> None:
        self.took.append(took)
        if not answer.startswith(b"HTTP/1.1 200") or answer.count(b"open_time") != 60:
            self.failures += 1

    async def run(self) -> None:
        self.over = asyncio.Event()
        self.until = time.perf_counter() + self.seconds
        loop = asyncio.get_running_loop()
        for _ in range(self.clients):
            await loop.create_connection(lambda: Client(self), "127.0.0.1", self.port)
        await self.over.wait()


def over_http(options: argparse.Namespace, end: datetime) -> list[list[object]]:
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "crypto_pipeline.cli", "_api", "--port", str(port)]
    server = subprocess.Popen([*command, "--data-dir", str(options.folder)], env=os.environ)
    try:
        asyncio.run(answering(port))
        last = [f"/bars/{name}?timeframe=1m&last=60" for name in names()]
        rng = random.Random(2)
        cold = []
        for _ in range(60_000):
            begin = end - timedelta(minutes=rng.randrange(60, 10 * 1440))
            span = f"start={begin:%Y-%m-%dT%H:%MZ}&end={begin + timedelta(hours=1):%Y-%m-%dT%H:%MZ}"
            cold.append(f"/bars/{rng.choice(names())}?timeframe=1m&{span}")
        lines = []
        for what, paths in (("newest 60 of 90 instruments", last), ("cold: random hours of 90 instruments", cold)):
            warm = Load(port, options.clients, 2.0, paths)
            uvloop.run(warm.run())
            load = Load(port, options.clients, options.seconds, paths)
            uvloop.run(load.run())
            lines.append(["HTTP JSON, " + what, *figures(load.took, options.seconds, load.failures)])
        return lines
    finally:
        server.terminate()
        server.wait(20)


async def answering(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        except OSError:
            await asyncio.sleep(0.1)


def figures(took: list[float], seconds: float, failures: int) -> list[object]:
    took = sorted(took)
    good = 100 * (1 - failures / len(took))
    half, most = (f"{quantile(took, share) * 1000:.1f}" for share in (0.5, 0.99))
    return [f"{len(took) / seconds:,.0f}", half, most, f"{good:.2f} %"]


def by_threads(options: argparse.Namespace, reader: Reader, cached: bool) -> list[object]:
    """As many threads as clients, one reader."""
    took: list[float] = []
    failures, known = 0, names()
    until = time.perf_counter() + options.seconds

    def ask(seed: int) -> None:
        nonlocal failures
        rng, mine = random.Random(seed), []
        while time.perf_counter() < until:
            name = rng.choice(known)
            begin = time.perf_counter()
            frame = reader.cached.bars(name, "1m", last=60).value if cached else reader.bars(name, "1m", last=60)
            mine.append(time.perf_counter() - begin)
            failures += frame.height != 60
        took.extend(mine)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(options.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return figures(took, options.seconds, failures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--clients", type=int, default=100)
    options = parser.parse_args()
    print(f"{machine()}\n")
    with EmbeddedServer(options.folder).running() as url:
        migrate(url)
        lines = over_http(options, last_midnight(options.folder))
        with Reader(url) as reader:
            by_threads(argparse.Namespace(clients=options.clients, seconds=1.0), reader, False)
            lines.append(["Python reader, every answer from the table", *by_threads(options, reader, False)])
            by_threads(argparse.Namespace(clients=options.clients, seconds=1.0), reader, True)
            lines.append(["Python reader, through the cache", *by_threads(options, reader, True)])
            print(f"{options.clients} clients, {options.seconds:g} s each; cache {reader.cached.stats.as_dict()}\n")
    table(["60 bars", "answers/s", "p50 ms", "p99 ms", "right"], lines)


if __name__ == "__main__":
    main()
