"""The whole path: replay exchange → HTTP → parse → store, coverage and ledger included, one worker process.

    python bench/backfill.py [--instruments 20] [--days 21] [--rounds 3] [--throttled MINUTES]

1m bars through `Pipeline.backfill`. PostgreSQL has the product's settings (fsync on), the exchange is a process of its
own and not throttled. Cold is the first time that the exchange is asked, warm when it has rendered the answers before.
Every figure is of an empty database. `--throttled 4` asks an exchange with Binance's limit (6000 a minute) instead, for
so many whole minutes, and counts the weight that the exchange counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import httpx
import psutil
from common import (
    PeakMemory,
    Replay,
    cpu_seconds,
    database,
    family,
    load,
    machine,
    numbers,
    postgres,
    postmaster,
    table,
)

from crypto_pipeline.healing import Pipeline
from crypto_pipeline.market import Timeframe, choose_instruments, load_universe
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import EmbeddedServer, Store

REST, ARCHIVE = "REST only", "archive first"


async def work(url: str, port: int, instruments: int, days: int, mode: str) -> dict[str, float]:
    """The worker: one backfill of 1m bars in this process."""
    settings = Settings(
        venue="replay", replay_port=port, days=days, archive_min_days=20_000 if mode == REST else 3, budget_share=0.9
    )
    with Store(url, batch_rows=settings.write_batch_rows) as store:
        store.instruments.add(choose_instruments(load_universe(), str(instruments)))
        async with Pipeline.open(store, settings) as pipeline:
            await pipeline.sync_instruments()
            me = psutil.Process()
            cpu, begin = cpu_seconds([me]), time.perf_counter()
            report = await pipeline.backfill(timeframes=[Timeframe.M1])
            seconds, cpu = time.perf_counter() - begin, cpu_seconds([me]) - cpu
            counts = report.of(Timeframe.M1)
            if counts.still_missing or report.problems:
                raise SystemExit(f"not complete: {report.as_dict()}")
            return {"bars": counts.inserted, "seconds": seconds, "cpu": cpu}


def run_worker(server: EmbeddedServer, replay: Replay, options: argparse.Namespace, mode: str) -> dict[str, Any]:
    """One backfill into an empty database."""
    with database(server, "bench_backfill") as url:
        processes = {"postgres": postmaster(server), "replay": psutil.Process(replay.process.pid)}
        before = {name: cpu_seconds([process]) for name, process in processes.items()}
        given = ["--worker", url, "--port", str(replay.port), "--mode", mode]
        given += ["--instruments", str(options.instruments), "--days", str(options.days)]
        child = subprocess.Popen([*options.under, sys.executable, __file__, *given], stdout=subprocess.PIPE, text=True)
        groups = {"worker": family(psutil.Process(child.pid))}
        with PeakMemory(groups | {name: family(process) for name, process in processes.items()}) as memory:
            output, _ = child.communicate()
        if child.returncode:
            raise SystemExit(f"the worker failed: {output}")
        found: dict[str, Any] = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
        found |= {f"{name} cpu": cpu_seconds([process]) - before[name] for name, process in processes.items()}
        return found | {"memory": memory, "load": load()}


def measure(options: argparse.Namespace) -> None:
    """Both ways, cold and warm."""
    rows, peaks = [], []
    with postgres() as server:
        for mode in (REST, ARCHIVE) if options.mode is None else (options.mode,):
            cold, warm = [], []
            for turn in range(options.rounds):
                with Replay(options.instruments, seed=turn + 1) as replay:
                    cold.append(run_worker(server, replay, options, mode))
                    warm.append(run_worker(server, replay, options, mode))
            for name, found in (("cold", cold), ("warm", warm)):
                rows.append([mode, name, *_figures(found)])
                peaks += [[mode, name, *row] for row in found[-1]["memory"].rows()]
    print(f"{machine()}\n")
    head = ["from", "exchange", "bars", "bars/s, median (range)", "worker", "PostgreSQL", "exchange", "load"]
    table([*head[:4], *(f"{name} CPU µs/bar" for name in head[4:7]), head[7]], rows)
    print()
    table(["from", "exchange", "process", "peak MiB", "of its own"], peaks)


def _figures(found: list[dict[str, Any]]) -> list[str]:
    rates = [each["bars"] / each["seconds"] for each in found]
    cpu = [
        f"{statistics.median(1e6 * each[name] / each['bars'] for each in found):.1f}"
        for name in ("cpu", "postgres cpu", "replay cpu")
    ]
    rate = f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})"
    return [f"{found[-1]['bars']:,}", rate, *cpu, found[-1]["load"]]


async def throttled(options: argparse.Namespace) -> None:
    """The used share of the allowed weight, by the exchange's count, and the number of its refusals."""
    with (
        postgres() as server,
        database(server, "bench_throttled") as url,
        Replay(options.instruments, weight_limit=6000) as replay,
    ):
        given = ["--worker", url, "--port", str(replay.port), "--mode", REST]
        given += ["--instruments", str(options.instruments), "--days", "2000"]
        with tempfile.TemporaryFile("w+") as log:
            child = subprocess.Popen([sys.executable, __file__, *given], stdout=subprocess.DEVNULL, stderr=log)
            try:
                windows = await _watch(replay.url, options.throttled)
            finally:
                child.kill()
                child.wait()
            log.seek(0)
            refused = sum("HTTP 429" in line or "HTTP 418" in line for line in log)
    print(f"{machine()}\n")
    allowed = int(6000 * 0.9)
    rows = [[number + 1, used, f"{used / allowed:.0%}"] for number, used in enumerate(windows)]
    table(["minute", "weight counted by the exchange", "of the 5400 allowed"], rows)
    print(f"\nRefused with 429 or 418: {refused}")


async def _watch(url: str, minutes: int) -> list[int]:
    """Weight of whole windows, read from the exchange just before each ends."""
    windows: list[int] = []
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        await asyncio.sleep(60 - time.time() % 60 + 0.5)  # only windows that were watched from their beginning
        while len(windows) < minutes:
            await asyncio.sleep(60 - time.time() % 60 - 0.3)
            answer = await client.get("/api/v3/ping")
            windows.append(int(answer.headers["X-MBX-USED-WEIGHT-1M"]) - 1)
            await asyncio.sleep(1)
    return windows


def main() -> None:
    parser = numbers(__doc__, instruments=20, days=21, rounds=3)
    parser.add_argument("--throttled", type=int, metavar="MINUTES")
    parser.add_argument("--under", type=str.split, default=[], help="run the worker under this, e.g. py-spy record …")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--mode", choices=[REST, ARCHIVE])
    options = parser.parse_args()
    if options.worker:
        found = asyncio.run(work(options.worker, options.port, options.instruments, options.days, options.mode))
        print(json.dumps(found))
    elif options.throttled:
        asyncio.run(throttled(options))
    else:
        measure(options)


if __name__ == "__main__":
    main()
