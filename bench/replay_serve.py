"""Speed of the replay exchange: bars per second of klines (cold: generated on request; warm: cached), and files.

    python bench/replay_serve.py [--instruments 20] [--days 7] [--repeats 5]

One server process, one client process that reads the bodies and does not parse them, 8 requests at a time.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import aiohttp
import psutil
from common import numbers

DAY_MS = 86_400_000
SERVE = (
    "from crypto_pipeline.replay import serve; import sys;"
    "serve(port=0, instruments=sys.argv[1], seed=int(sys.argv[2]), weight_limit=0)"
)


class Server:
    def __init__(self, instruments: int, seed: int) -> None:
        command = [sys.executable, "-c", SERVE, str(instruments), str(seed)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[2]

    def megabytes(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def cpu_seconds(self) -> float:
        spent = psutil.Process(self.process.pid).cpu_times()
        return spent.user + spent.system

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(10) == 0


async def fetch_bars(session: aiohttp.ClientSession, symbols: list[str], start: int, end: int) -> int:
    """All 1m bars of [start, end), paged as a client would; returns how many came."""
    gate = asyncio.Semaphore(8)

    async def one(symbol: str) -> int:
        count, at = 0, start
        while at < end:
            query = {"symbol": symbol, "interval": "1m", "startTime": at, "endTime": end - 1, "limit": 1000}
            async with gate, session.get("/api/v3/klines", params=query) as answer:
                body = await answer.read()
            rows = body.count(b"],[") + 1 if len(body) > 2 else 0
            count += rows
            if rows < 1000:
                break
            last = body.rfind(b"[")
            at = int(body[last + 1 : body.index(b",", last)]) + 60_000
        return count

    return sum(await asyncio.gather(*(one(symbol) for symbol in symbols)))


async def fetch_archive(session: aiohttp.ClientSession, symbols: list[str], month: str) -> int:
    """One monthly file a symbol; returns bytes."""
    gate = asyncio.Semaphore(4)

    async def one(symbol: str) -> int:
        async with gate, session.get(f"/data/spot/monthly/klines/{symbol}/1m/{symbol}-1m-{month}.zip") as answer:
            return len(await answer.read())

    return sum(await asyncio.gather(*(one(symbol) for symbol in symbols)))


async def run(instruments: int, days: int, repeats: int) -> None:
    end = int(datetime.now(UTC).timestamp() * 1000) // DAY_MS * DAY_MS
    month_start = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).replace(day=1)
    minutes = ((datetime.now(UTC).replace(day=1) - timedelta(days=1)).day) * 1440
    figures: dict[str, list[float]] = {name: [] for name in ("cold", "cold CPU", "warm", "warm CPU", "archive", "MiB")}
    for repeat in range(repeats):
        server = Server(instruments, seed=repeat + 1)
        async with aiohttp.ClientSession(server.url) as session:
            async with session.get("/api/v3/exchangeInfo") as answer:
                symbols = [symbol["symbol"] for symbol in (await answer.json())["symbols"]]
            for label in ("cold", "warm"):
                started, cpu = time.perf_counter(), server.cpu_seconds()
                bars = await fetch_bars(session, symbols, end - days * DAY_MS, end)
                figures[label].append(bars / (time.perf_counter() - started))
                # On a busy machine only the server's own CPU time says what it costs.
                figures[f"{label} CPU"].append(bars / (server.cpu_seconds() - cpu))
            some = symbols[: min(4, len(symbols))]
            started = time.perf_counter()
            await fetch_archive(session, some, f"{month_start:%Y-%m}")
            figures["archive"].append(len(some) * minutes / (time.perf_counter() - started))
        figures["MiB"].append(server.megabytes())
        server.stop()
    for label, values in figures.items():
        print(f"{label:8} median {statistics.median(values):12,.0f}   from {min(values):,.0f} to {max(values):,.0f}")


if __name__ == "__main__":
    parser = numbers(__doc__, instruments=20, days=7, repeats=5)
    given = parser.parse_args()
    asyncio.run(run(given.instruments, given.days, given.repeats))
