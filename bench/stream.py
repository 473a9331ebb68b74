"""The stream under load: many readers, one that takes nothing, one that is slow; thousands of trades a second.

    python bench/stream.py [--readers 100] [--instruments 90] [--trades 5000] [--seconds 40]

A database of its own, the supervised HTTP program in a process of its own, a writer that stores trades and prices ten
times a second as ingest does, and readers in a third process. A delay is the time from the begin of the transaction
that stores a price until a reader has the frame. The phases follow each other on the same program: readers alone; with
a reader that takes nothing (and comes again when it is cut off); with one that reads 20 kB a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from common import MIB, load, machine, numbers, table
from read_load import answering
from websockets.asyncio.client import connect

from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.ops.host.ports import free_port
from crypto_pipeline.store import EmbeddedServer, LivePrice, Store, migrate

EVERY = 0.1
TIME = re.compile(r'"time":(\d+)')
SUBSCRIBE = json.dumps({"op": "subscribe", "channels": [{"channel": "prices"}]})


class Writer:
    """Stores trades and prices until it is stopped."""

    def __init__(self, store: Store, names: list[str], rate: int) -> None:
        self.store, self.names, self.rate = store, names, rate
        self.stop = threading.Event()
        self.trades, self.took = 0, [0.0]
        self._ids = dict.fromkeys(names, 0)

    def run(self) -> None:
        due = time.monotonic()
        while not self.stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + EVERY, time.monotonic() - 1)
            self.write(int(self.rate * EVERY))

    def write(self, count: int) -> None:
        begun = time.time()
        at = int(begun * 1000)
        trades = []
        for number in range(count):
            name = self.names[number % len(self.names)]
            self._ids[name] += 1
            each = self._ids[name]
            trades.append(LiveTrade(name, each, each, each, at, 100.0 + each % 50, 1.0, taker_buy=True))
        last = {trade.instrument: trade for trade in trades}
        prices = [
            LivePrice(
                name, Timeframe.M1, at - at % 60_000, one.price, one.price, one.price, one.price, 1.0, 1.0, 0.5, 1,
                one.price, at, one.trade_id, "live_aggregated",
            )
            for name, one in last.items()
        ]  # fmt: skip
        self.store.live.flush("replay", self.store.trades.columns_from_events(trades), prices)
        self.trades += count
        self.took.append(time.time() - begun)


async def read(port: int, until: float, delays: list[float], kinds: dict[str, int], *, pause: float = 0.0) -> None:
    """One reader; ``pause``: seconds between frames, for a slow one, which has small buffers too."""
    more: dict[str, Any] = {"max_queue": 1} if pause else {}
    if pause:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        slow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(slow, ("127.0.0.1", port))
        more["sock"] = slow
    async with connect(f"ws://127.0.0.1:{port}/stream", compression=None, max_size=None, **more) as connection:
        await connection.send(SUBSCRIBE)
        while (left := until - time.time()) > 0:
            try:
                text = await asyncio.wait_for(connection.recv(), left)
            except TimeoutError:
                return
            kind = text[9 : text.index('"', 9)]
            kinds[kind] = kinds.get(kind, 0) + 1
            if kind in ("delta", "conflated"):
                newest = max(map(int, TIME.findall(text)[:1]))
                delays.append(time.time() - newest / 1000)
            if pause:
                await asyncio.sleep(pause)


def readers(port: int, count: int, until: float, answer: Any) -> None:
    """All readers, in one process."""
    delays: list[float] = []
    kinds: dict[str, int] = {}

    async def run() -> None:
        await asyncio.gather(*(read(port, until, delays, kinds) for _ in range(count)))

    asyncio.run(run())
    answer.put((sorted(delays), kinds))


def stall(port: int, program: psutil.Process, until: float) -> list[float]:
    """A reader that asks for prices and takes nothing; when it is cut off it comes again. Seconds until each cut."""
    cuts = []
    while time.time() < until:
        begun = time.time()
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", port))
            head = (
                f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            one.sendall(head.encode())
            one.recv(1024)
            body = SUBSCRIBE.encode()
            one.sendall(bytes([0x81, 0x80 | len(body), 0, 0, 0, 0]) + body)
            while time.time() < until:
                time.sleep(0.5)
                # the program has closed it; the kernel lets it go after its own time, as nothing is taken from it
                if not any(each.raddr == one.getsockname() for each in program.net_connections("tcp4")):
                    cuts.append(time.time() - begun)
                    break
    return cuts


def phase(name: str, port: int, program: psutil.Process, writer: Writer, options: argparse.Namespace) -> list[object]:
    until = time.time() + options.seconds
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=readers, args=(port, options.readers, until, answer))
    process.start()
    extra: dict[str, Any] = {}
    beside = threading.Thread(target=_beside, args=(name, port, program, until, extra))
    beside.start()
    stored, writer.took = writer.trades, []
    begun, before = time.time(), program.cpu_times()
    memory = []
    while time.time() < until:
        time.sleep(1)
        memory.append(program.memory_info().rss / MIB)
    seconds, after = time.time() - begun, program.cpu_times()
    delays, kinds = answer.get(timeout=60)
    process.join()
    beside.join()
    busy = (after.user + after.system - before.user - before.system) / seconds
    flushes = sorted(writer.took)
    return [
        name, f"{(writer.trades - stored) / seconds:,.0f}", f"{flushes[len(flushes) // 2] * 1000:.0f}",
        f"{len(delays):,}", *(f"{delays[min(int(len(delays) * part), len(delays) - 1)] * 1000:.0f}" for part in
        (0.5, 0.99, 1.0)), f"{memory[len(memory) // 4]:.0f} → {memory[-1]:.0f}", f"{busy:.2f}", kinds, extra, load(),
    ]  # fmt: skip


def _beside(name: str, port: int, program: psutil.Process, until: float, extra: dict[str, Any]) -> None:
    if name == "one takes nothing":
        extra["cut off after s"] = [round(each, 1) for each in stall(port, program, until)]
    if name == "one is slow":
        delays: list[float] = []
        kinds: dict[str, int] = {}
        asyncio.run(read(port, until, delays, kinds, pause=0.5))
        extra |= {"frames": kinds, "newest delay s": round(delays[-1], 1) if delays else None}


def main() -> None:
    parser = numbers(__doc__, readers=100, instruments=90, trades=5000, seconds=40.0)
    options = parser.parse_args()
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder)).running() as url:
        migrate(url)
        port = free_port("127.0.0.1")
        command = [sys.executable, "-m", "crypto_pipeline.cli", "_api", "--port", str(port), "--data-dir", folder]
        with Store(url) as store:
            names = [f"A{number:03d}-USDT" for number in range(options.instruments)]
            store.instruments.add([Instrument.crypto(name) for name in names])
            program = subprocess.Popen(command, env=os.environ)
            writer = Writer(store, names, options.trades)
            thread = threading.Thread(target=writer.run)
            thread.start()
            try:
                asyncio.run(answering(port))
                watched = psutil.Process(program.pid)
                phases = ("warm up", "readers alone", "one takes nothing", "one is slow", "readers alone again")
                rows = [phase(name, port, watched, writer, options) for name in phases]
            finally:
                writer.stop.set()
                thread.join()
                program.terminate()
                program.wait(20)
        head = [
            "phase", "trades a second", "flush ms, median", "frames", "delay ms p50", "p99", "most", "MiB",
            "processors", "kinds", "the other one", "load",
        ]  # fmt: skip
        table(head, rows)


if __name__ == "__main__":
    main()
