"""Trades per second that the replay exchange's streams send.

    python bench/replay_stream.py [--instruments 100] [--intensity 6000] [--connections 1] [--seconds 10] [--speed 1]

One server process; this process reads the sockets, counts and checks nothing, so that the server sets the pace.
How late trades arrive by the exchange's own clock says whether it keeps up with its tape.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable

import aiohttp
import psutil
from common import numbers

SERVE = (
    "from crypto_pipeline.replay import serve; import sys;"
    "serve(port=0, instruments=sys.argv[1], intensity=int(sys.argv[2]), speed=float(sys.argv[3]), weight_limit=0)"
)
TRADE = b'"e":"aggTrade"'


class Reader(asyncio.Protocol):
    """A WebSocket client that only counts: the upgrade is written by hand, frames are not taken apart."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.bytes = self.trades = 0
        self.tail = b""
        self.late: list[float] = []
        self.clock: Callable[[], float] = lambda: 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.bytes += len(data)
        joined = self.tail + data
        self.trades += joined.count(TRADE)
        self.tail = joined[-(len(TRADE) - 1) :]
        last = data.rfind(b'"T":')
        if found := re.match(rb'"T":(\d{13}),"m"', data[last : last + 40]):
            self.late.append(self.clock() - int(found[1]))


async def run(given: argparse.Namespace) -> None:
    command = [sys.executable, "-c", SERVE, str(given.instruments), str(given.intensity), str(given.speed)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().split()[2]
    process = psutil.Process(server.pid)
    try:
        async with aiohttp.ClientSession(url) as session:
            async with session.get("/api/v3/exchangeInfo") as answer:
                symbols = [row["symbol"].lower() for row in (await answer.json())["symbols"]]
            async with session.get("/api/v3/time") as answer:
                venue, real = json.loads(await answer.read())["serverTime"], time.monotonic()
        streams = "/".join(f"{symbol}@aggTrade" for symbol in symbols)
        host, port = url.removeprefix("http://").split(":")
        request = (
            f"GET /stream?streams={streams} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        loop = asyncio.get_running_loop()
        readers = []
        for _ in range(given.connections):
            _, reader = await loop.create_connection(lambda: Reader(request), host, int(port))
            reader.clock = lambda: venue + (time.monotonic() - real) * 1000 * given.speed
            readers.append(reader)
        await asyncio.sleep(given.warm)
        for reader in readers:
            reader.trades = reader.bytes = 0
            reader.late.clear()
        cpu, own, started = process.cpu_times(), psutil.Process().cpu_times(), time.perf_counter()
        await asyncio.sleep(given.seconds)
        spent, now = process.cpu_times(), psutil.Process().cpu_times()
        took = time.perf_counter() - started
    finally:
        with contextlib.suppress(ProcessLookupError):
            memory = process.memory_info().rss / 2**20
            server.terminate()
        server.wait(10)
    trades = sum(reader.trades for reader in readers)
    late = sorted(one for reader in readers for one in reader.late)
    cores = (spent.user + spent.system - cpu.user - cpu.system) / took
    client = (now.user + now.system - own.user - own.system) / took
    print(
        f"{given.instruments} instruments, intensity {given.intensity}, {given.connections} connections, {took:.1f} s"
    )
    print(f"trades sent a second  {trades / took:12,.0f}   ({sum(r.bytes for r in readers) / took / 2**20:.1f} MiB/s)")
    print(f"CPU of the server {cores:15.0%} of a core (reading side {client:.0%}), {memory:,.0f} MiB")
    if late:
        middle, worst = late[len(late) // 2], late[int(len(late) * 0.99)]
        print(f"venue ms from a trade to its arrival: median {middle:.0f}, p99 {worst:.0f}")


if __name__ == "__main__":
    parser = numbers(__doc__, instruments=100, intensity=6000, connections=1, speed=1.0, seconds=10.0, warm=10.0)
    asyncio.run(run(parser.parse_args()))
