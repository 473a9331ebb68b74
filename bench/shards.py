"""Shards of ingest on two workers, one killed again and again: time until its shards are live, and no hole, no double.

    python bench/shards.py [--shards 4] [--instruments 20] [--kills 3] [--live 45]

Two `crypto-pipeline worker` with data directories of their own and one PostgreSQL stand for two machines. Every round
kills one worker (SIGKILL for it; its programs die with it, as with their machine), waits until every shard is live on
the other one, starts it again, and waits until both have equal parts. At the end all trades and bars are compared with
the exchange's tape, and heartbeats with the leases. Memory is that of a worker with its programs.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from common import MIB, Replay, load, machine, numbers, postgres, table
from deployed import Deployed
from ingest import add_instruments

from crypto_pipeline.ingest.workers.membership import Workers
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, migrate
from crypto_pipeline.store.database.connect import ensure_databases

WORKER = [sys.executable, "-m", "crypto_pipeline.cli", "worker"]


class Tape(Deployed):
    """Compares a database with a replay exchange, without a deployment."""

    def __init__(self, store: Store, base: str) -> None:
        self._store, self._base = store, base

    @property
    def base(self) -> str:
        return self._base


class Machine:
    """One worker with a data directory of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self._environment = folder, environment
        folder.mkdir()
        self.start()

    def start(self) -> None:
        environment = self._environment | {"CRYPTO_PIPELINE_DATA_DIR": str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(WORKER, env=environment, stdout=log, stderr=log)

    @property
    def name(self) -> str:
        return f"{os.uname().nodename}/{(self.folder / 'run/deployment').read_text().split()[0]}"

    def memory(self) -> float:
        own = psutil.Process(self.process.pid)
        return sum(one.memory_full_info().uss for one in (own, *own.children(recursive=True))) / MIB

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


class Bench:
    """The workers, and what the database says of them."""

    def __init__(self, given: argparse.Namespace, settings: Settings, store: Store) -> None:
        self.given, self.store = given, store
        self.workers = Workers(settings, store, "bench")

    def live(self) -> dict[str, str]:
        """The worker of each shard that is live now."""
        beats = {row.name: row for row in self.store.heartbeats.all("ingest-%")}
        held = {lease.name: lease.holder for lease in self.store.leases.rows() if lease.held}
        return {
            name: str(beat.detail.get("worker"))
            for name, beat in beats.items()
            if beat.age < 5 and beat.detail["state"] == "live" and held.get(name) == beat.holder
        }

    def until_live(self, patience: float, only: str | None = None) -> float:
        began = time.monotonic()
        while len(found := self.live()) < self.given.shards or (only is not None and set(found.values()) != {only}):
            if time.monotonic() - began > patience:
                raise SystemExit(f"not live within {patience:.0f} s: {found}, {self.workers.look()}")
            time.sleep(0.1)
        return time.monotonic() - began

    def until_equal(self, patience: float) -> float:
        began = time.monotonic()
        while sorted(Counter(self.live().values()).values()) != [self.given.shards // 2] * 2:
            if time.monotonic() - began > patience:
                raise SystemExit(f"not shared equally within {patience:.0f} s: {self.live()}, {self.workers.look()}")
            time.sleep(0.1)
        return time.monotonic() - began


@contextmanager
def machines(folder: Path, environment: dict[str, str]) -> Iterator[tuple[Machine, Machine]]:
    one, two = Machine(folder / "one", environment), Machine(folder / "two", environment)
    try:
        yield one, two
    finally:
        for machine in (one, two):
            if machine.process.poll() is None:
                machine.stop()


def run(given: argparse.Namespace) -> int:
    with postgres() as server, tempfile.TemporaryDirectory() as folder, Replay(given.instruments) as exchange:
        url = server.url("crypto_pipeline")
        ensure_databases(url, ["crypto_pipeline"])
        migrate(url)
        chosen = {"database_url": url, "venue": "replay", "replay_port": exchange.port, "ingest_shards": given.shards}
        environment = os.environ | {f"CRYPTO_PIPELINE_{name.upper()}": str(value) for name, value in chosen.items()}
        with Store(url) as store, machines(Path(folder), environment) as (one, two):
            add_instruments(store, exchange.port)
            bench = Bench(given, Settings(**chosen), store)
            first = bench.until_live(120)
            start = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
            shared = bench.until_equal(120)
            print(f"{machine()}\nlive after {first:.1f} s, shared equally {shared:.1f} s later", flush=True)
            rows = [
                kill(bench, victim, other) for _ in range(given.kills) for victim, other in ((one, two), (two, one))
            ]
            memory = ", ".join(f"{machine.memory():.0f}" for machine in (one, two))
            print(f"MiB of each worker with its programs: {memory}")
            table(["round", "shards lost", "all live again s", "equal parts again s", "load"], rows)
            again = [float(row[2]) for row in rows]
            print(f"live again: median {statistics.median(again):.1f} s, most {max(again):.1f} s")
            return compare(store, exchange.url, start)


def kill(bench: Bench, victim: Machine, other: Machine) -> list[object]:
    time.sleep(bench.given.live)
    lost = sum(worker == victim.name for worker in bench.live().values())
    victim.kill()
    took = bench.until_live(120, only=other.name)
    busy = load()
    time.sleep(5)
    victim.start()
    equal = bench.until_equal(120)
    print(f"{datetime.now(UTC):%H:%M:%S} {lost} shards lost, live after {took:.1f} s, equal {equal:.1f} s", flush=True)
    return [victim.folder.name, lost, f"{took:.1f}", f"{equal:.1f}", busy]


def compare(store: Store, base: str, start: datetime) -> int:
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    tape, until = Tape(store, base), time.monotonic() + 60
    while (wrong := tape.compare(start, end)) and time.monotonic() < until:
        time.sleep(2)
    print(f"{start:%H:%M} to {end:%H:%M} against the tape: {tape.counted}; wrong: {wrong or 'nothing'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = numbers(__doc__, shards=4, instruments=20, kills=3, live=45.0)
    sys.exit(run(parser.parse_args()))
