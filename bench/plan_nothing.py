"""A complete backfill of 180 days × 90 instruments, then the time to find that there is no further work.

    python bench/plan_nothing.py [--instruments 90] [--days 180] [--repeats 7] [--keep FOLDER]

The store is filled as in real life: a generated market served by the replay exchange (with its late listings, halts and
quiet minutes), 1m bars over HTTP, all higher timeframes rolled up from what is stored. Memory of every process is
watched meanwhile. Then `Pipeline.backfill()` runs again over everything, at the same moment of venue time. `--keep`
uses (or leaves there) a filled data directory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from common import PeakMemory, Replay, cpu_seconds, family, load, machine, numbers, postgres, postmaster, table

from crypto_pipeline.healing import Pipeline
from crypto_pipeline.market import Timeframe, choose_instruments, load_universe
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import EmbeddedServer, Store, migrate
from crypto_pipeline.venues import make_venue


async def fill(url: str, options: argparse.Namespace) -> None:
    """Backfill everything, a line of JSON per timeframe."""
    settings = Settings(venue="replay", replay_port=options.port, days=options.days)
    with Store(url) as store:
        store.instruments.add(choose_instruments(load_universe(), str(options.instruments)))
        venue = make_venue(settings, store.budgets.of("replay"))
        now = await venue.server_time()
        print(json.dumps({"now": now.isoformat()}), flush=True)
        pipeline = Pipeline(store, venue, settings, now)
        await pipeline.sync_instruments()
        for timeframe in Timeframe:
            begin, cpu = time.perf_counter(), cpu_seconds([psutil.Process()])
            report = await pipeline.backfill(timeframes=[timeframe])
            counts = report.of(timeframe)
            found = {"timeframe": str(timeframe), "bars": counts.inserted, "left": counts.still_missing, "load": load()}
            found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            found |= {"seconds": time.perf_counter() - begin, "cpu": cpu_seconds([psutil.Process()]) - cpu}
            print(json.dumps(found), flush=True)
        await venue.close()


async def nothing(url: str, options: argparse.Namespace) -> None:
    """Plan again, in a new process and then in one that has planned before."""
    settings = Settings(venue="replay", replay_port=1, days=options.days)  # whoever asks the venue fails
    with Store(url) as store:
        venue = make_venue(settings, store.budgets.of("replay"))
        pipeline = Pipeline(store, venue, settings, datetime.fromisoformat(options.now))
        for _ in range(options.repeats + 1):
            begin, cpu = time.perf_counter(), time.process_time()
            report = await pipeline.backfill()
            if not report.nothing_to_do or report.problems:
                raise SystemExit(f"something to do: {report.as_dict()}")
            found = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu, "load": load()}
            print(json.dumps(found), flush=True)
        await venue.close()


def worker(kind: str, url: str, options: argparse.Namespace, port: int, now: str = "") -> subprocess.Popen[str]:
    given = [sys.executable, __file__, "--worker", kind, "--url", url, "--port", str(port), "--now", now]
    given += [f"--{name}={getattr(options, name)}" for name in ("instruments", "days", "repeats")]
    return subprocess.Popen([*options.under, *given], stdout=subprocess.PIPE, text=True)


def answers(child: subprocess.Popen[str]) -> list[dict[str, Any]]:
    output, _ = child.communicate()
    if child.returncode:
        raise SystemExit(f"the worker failed: {output}")
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def filled(server: EmbeddedServer, options: argparse.Namespace) -> str:
    """Fill the database and say how it went; returns the moment of venue time that it is filled up to."""
    with Replay(options.instruments) as replay:
        child = worker("fill", server.url(), options, replay.port)
        processes = {
            "worker": psutil.Process(child.pid),
            "PostgreSQL, each": postmaster(server),
            "replay exchange": psutil.Process(replay.process.pid),
        }
        with PeakMemory({name: family(process) for name, process in processes.items()}) as memory:
            first, *found = answers(child)
    print(f"## Filling\n\n{machine()}\n")
    rows = []
    below = 0
    for each in found:
        whence = "venue" if each["timeframe"] == "1m" else f"{below / each['seconds']:,.0f}"
        figures = [f"{each['seconds']:.1f}", f"{each['cpu']:.1f}", f"{each['bars'] / each['seconds']:,.0f}", whence]
        rows.append([each["timeframe"], f"{each['bars']:,}", *figures, each["peak"], each["left"], each["load"]])
        below = each["bars"]
    table(
        ["timeframe", "bars", "s", "worker CPU s", "bars/s", "lower bars read/s", "worker peak MiB", "left", "load"],
        rows,
    )
    rolled = [each for each in found if each["timeframe"] != "1m"]
    seconds, bars = sum(each["seconds"] for each in rolled), found[0]["bars"]
    print(f"\nAll roll-ups of {bars:,} 1m bars: {seconds:.1f} s, {bars / seconds:,.0f} 1m bars/s.\n")
    table(["process", "peak MiB", "of its own"], memory.rows())
    return str(first["now"])


@contextmanager
def kept(folder: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(folder)
    server.prepare()
    with server.running():
        yield server


def measure(options: argparse.Namespace) -> None:
    note = options.keep / "filled-up-to" if options.keep else None
    with kept(options.keep) if options.keep else postgres() as server:
        migrate(server.url())
        if note is not None and note.exists():
            now = note.read_text()
        else:
            now = filled(server, options)
            if note is not None:
                note.write_text(now)
        with Store(server.url()) as store:
            present = int(store.coverage.summary().filter(timeframe="1m")["present"][0])
            cells = int(store.coverage.summary()["cells"].sum())
        first, *found = answers(worker("nothing", server.url(), options, 0, now))
    print(f"\n## Nothing to do\n\n{machine()}\n\n{present:,} 1m bars, {cells:,} coverage cells\n")
    middle = {name: statistics.median(each[name] for each in found) for name in ("seconds", "cpu")}
    rows = [["first look of a process", f"{first['seconds']:.3f}", "", f"{first['cpu']:.3f}", first["load"]]]
    reach = f"{min(each['seconds'] for each in found):.3f}–{max(each['seconds'] for each in found):.3f}"
    rows.append([f"again, median of {len(found)}", f"{middle['seconds']:.3f}", reach, f"{middle['cpu']:.3f}", load()])
    table(["", "s", "range", "worker CPU s", "load"], rows)


def main() -> None:
    parser = numbers(__doc__, instruments=90, days=180, repeats=7)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--under", type=str.split, default=[], help="run workers under this, e.g. 'py-spy record …'")
    parser.add_argument("--worker", choices=["fill", "nothing"], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--now", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker == "fill":
        asyncio.run(fill(options.url, options))
    elif options.worker == "nothing":
        asyncio.run(nothing(options.url, options))
    else:
        measure(options)


if __name__ == "__main__":
    main()
