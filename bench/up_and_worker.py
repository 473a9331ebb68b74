"""`crypto-pipeline up` beside `crypto-pipeline worker` on one PostgreSQL: shards shared, taken over, and given back.

    python bench/up_and_worker.py [--shards 4] [--instruments 8] [--live 20]

In turn the worker joins, is killed, joins again, is stopped, joins again; then `up` is stopped (its exchange is served
by another process meanwhile) and started again. Every step waits until each shard is live where it should be. At the
end trades and bars are compared with the exchange's tape. It takes about eight minutes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from common import load, machine, numbers, postgres, table
from deployed import Deployed
from shards import Bench, Machine

from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.supervision.ingest_worker import worker_name
from crypto_pipeline.settings import Settings
from crypto_pipeline.store.database.connect import ensure_databases


class House(Deployed):
    """An `up` whose exchange stays on one port."""

    def __init__(self, url: str, given: Namespace) -> None:
        super().__init__("--instruments", str(given.instruments), url=url, ingest_shards=str(given.shards))
        self.house.start()
        self.port = int(self.base.rsplit(":", 1)[1])
        self.house.options = (*self.house.options, "--replay-port", str(self.port))
        self.name = worker_name(Places(self.house.data_dir))
        self.address = self.base

    def down(self) -> None:
        """Ctrl-C, and wait for the end; what is stored stays."""
        assert self.house.process is not None
        self.house.process.send_signal(signal.SIGINT)
        self.house.process.wait(120)
        self.house.process = None

    @property
    def base(self) -> str:
        return self.address if hasattr(self, "address") else super().base


@contextmanager
def exchange_of(house: House, instruments: int) -> Iterator[None]:
    """The same exchange, by a process of its own."""
    command = [sys.executable, "-m", "crypto_pipeline.cli", "replay", "serve", "--port", str(house.port)]
    environment = house.house.environment | {"CRYPTO_PIPELINE_INSTRUMENTS": str(instruments)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def steps(bench: Bench, house: House, folder: Path, environment: dict[str, str]) -> Iterator[tuple[str, float]]:
    """What is done, and the seconds until every shard is live where it should be."""
    yield "up alone", bench.until_live(120, only=house.name)
    worker = Machine(folder / "one", environment)
    try:
        yield "worker joins", bench.until_equal(120)
        time.sleep(bench.given.live)
        worker.kill()
        yield "worker killed", bench.until_live(120, only=house.name)
        worker.start()
        yield "worker joins again", bench.until_equal(120)
        time.sleep(bench.given.live)
        yield "worker stopped (with its end)", timed(worker.stop) + bench.until_live(120, only=house.name)
        worker.start()
        yield "worker joins again", bench.until_equal(120)
        yield "up stopped (its end alone)", timed(house.down)
        with exchange_of(house, bench.given.instruments):
            yield "… until all are live on the worker", bench.until_live(120, only=worker.name)
            time.sleep(bench.given.live)
        yield "up again (with its start)", timed(house.house.start) + bench.until_equal(240)
        time.sleep(bench.given.live)
    finally:
        if worker.process.poll() is None:
            worker.stop()
        sys.stdout.write("".join(f"  {line}" for line in (worker.folder / "log").open().readlines()[-12:]))


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def run(given: Namespace) -> int:
    with postgres() as server, tempfile.TemporaryDirectory() as folder:
        url = server.url("crypto_pipeline")
        ensure_databases(url, ["crypto_pipeline"])
        house = House(url, given)
        try:
            chosen = {"database_url": url, "venue": "replay", "replay_port": house.port, "ingest_shards": given.shards}
            environment = os.environ | {f"CRYPTO_PIPELINE_{name.upper()}": str(value) for name, value in chosen.items()}
            bench = Bench(given, Settings(**chosen), house.store)
            start = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
            print(machine(), flush=True)
            rows = []
            for what, took in steps(bench, house, Path(folder), environment):
                rows.append([what, f"{took:.1f}", load()])
                print(f"{datetime.now(UTC):%H:%M:%S} {what}: {took:.1f} s {sorted(bench.live().items())}", flush=True)
            table(["step", "s", "load"], rows)
            end = datetime.now(UTC).replace(second=0, microsecond=0)
            until = time.monotonic() + 240
            while (wrong := house.compare(start, end)) and time.monotonic() < until:
                time.sleep(3)
            print(f"{start:%H:%M} to {end:%H:%M} against the tape: {house.counted}; wrong: {wrong or 'nothing'}")
            return 1 if wrong else 0
        finally:
            house.house.stop()


if __name__ == "__main__":
    sys.exit(run(numbers(__doc__, shards=4, instruments=8, live=20.0).parse_args()))
