"""Shared parts of the benches: a database with the product's settings, the replay exchange as a process,
measurements.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg

from crypto_pipeline.store import EmbeddedServer, migrate
from crypto_pipeline.store.database.connect import ensure_databases
from crypto_pipeline_tests.builders.background import Background

_SERVE = (
    "from crypto_pipeline.replay import serve; import sys;"
    "serve(port=0, instruments=sys.argv[1], seed=int(sys.argv[2]), weight_limit=int(sys.argv[3]))"
)
MIB = 2**20
#: Counts the coverage cells that differ from the table's bars.
MISCOUNTED = """
SELECT count(*) FROM (
    SELECT instrument_id, timeframe, (open_time AT TIME ZONE 'UTC')::date AS day, count(*) AS rows
    FROM market.ohlc_data GROUP BY 1, 2, 3
) AS there
FULL JOIN market.coverage c USING (instrument_id, timeframe, day)
WHERE coalesce(there.rows, 0) <> coalesce(c.present - c.archived, 0)
"""


def load() -> str:
    """Load averages: how busy the machine is."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def machine() -> str:
    """The line above every table."""
    cores, memory = os.cpu_count(), psutil.virtual_memory().total // 2**30
    return f"{time.strftime('%Y-%m-%d %H:%M')}, {cores} cores, {memory} GiB, load average {load()}: `{command()}`"


def command() -> str:
    """The command line of this bench."""
    return " ".join(["python", *sys.argv])


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a markdown table."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |")
    sys.stdout.flush()


@contextmanager
def postgres() -> Iterator[EmbeddedServer]:
    """A server with the product's settings (default durability), deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="cp-bench-") as folder:
        server = EmbeddedServer(Path(folder))
        server.prepare()
        with server.running():
            yield server


@contextmanager
def database(server: EmbeddedServer, name: str) -> Iterator[str]:
    """An empty migrated database of that name, dropped afterwards."""
    ensure_databases(server.url("postgres"), [name])
    url = server.url(name)
    migrate(url)
    try:
        yield url
    finally:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            connection.execute("CHECKPOINT")


def prepare_dagster(home: Path, url: str, dagster: str, days: int) -> None:
    """An instance of Dagster in this process: its home, storage (``dagster``), and the database ``url``. Before any
    definition is imported.
    """
    from crypto_pipeline.ops.supervision.programs import DAGSTER_URL_VARIABLE

    os.environ |= {
        "DAGSTER_HOME": str(home), DAGSTER_URL_VARIABLE: dagster, "DAGSTER_EVENT_BATCH_SIZE": "500",
        "DAGSTER_DISABLE_TELEMETRY": "yes", "CRYPTO_PIPELINE_DATABASE_URL": url, "CRYPTO_PIPELINE_DAYS": str(days),
    }  # fmt: skip
    (home / "dagster.yaml").write_text((Path(__file__).parent.parent / "dagster.yaml").read_text())


def postmaster(server: EmbeddedServer) -> psutil.Process:
    """The server's first process."""
    pid = int((server.data_dir / "postgres/data/postmaster.pid").read_text().split()[0])
    return psutil.Process(pid)


def start_postgres(server: EmbeddedServer, folder: Path) -> subprocess.Popen[bytes]:
    """The server, prepared, in a process of its own that a bench may kill."""
    environment = {**os.environ, "CRYPTO_PIPELINE_DATA_DIR": str(folder), "CRYPTO_PIPELINE_DATABASE_URL": server.url()}
    command = [sys.executable, "-m", "crypto_pipeline.cli", "_postgres"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server.wait_ready(60)
    return process


class Replay:
    """The replay exchange in a process of its own."""

    def __init__(self, instruments: int | str, seed: int = 1, weight_limit: int = 0) -> None:
        arguments = [str(instruments), str(seed), str(weight_limit)]
        self.process = subprocess.Popen([sys.executable, "-c", _SERVE, *arguments], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[2]
        self.port = int(self.url.rsplit(":", 1)[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)


def numbers(description: str | None, **defaults: float) -> argparse.ArgumentParser:
    """A parser with an option for each number: ``days=7`` gives ``--days``, which takes whole numbers."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """Processor time of processes and their children, running and ended."""
    total = 0.0
    for process in processes:
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
        for child in process.children(recursive=True):
            try:
                one = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += one.user + one.system
    return total


class PeakMemory(Background):
    """Highest memory of each named group's processes, looked at five times a second.

    ``own`` is what a process has for itself (unique set size): PostgreSQL's shared buffers would else count once for
    every backend. ``rss`` is what tools show.
    """

    def __init__(self, groups: dict[str, Callable[[], list[psutil.Process]]]) -> None:
        self._groups = groups
        self.rss: dict[str, int] = dict.fromkeys(groups, 0)
        self.own: dict[str, int] = dict.fromkeys(groups, 0)
        super().__init__([self._watch])

    def _watch(self) -> None:
        while not self.stopping.wait(0.2):
            for name, find in self._groups.items():
                try:
                    for process in find():
                        self.rss[name] = max(self.rss[name], process.memory_info().rss)
                        self.own[name] = max(self.own[name], _own(process.pid))
                except psutil.Error:
                    continue

    def rows(self) -> list[tuple[str, str, str]]:
        """For a table: group, MiB shown, MiB of its own."""
        return [(name, f"{self.rss[name] / MIB:,.0f}", f"{self.own[name] / MIB:,.0f}") for name in self._groups]


def _own(pid: int) -> int:
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_"):
                total += int(line.split()[1]) * 1024
    except OSError:
        return 0
    return total


def family(process: psutil.Process) -> Callable[[], list[psutil.Process]]:
    """A process and everything below it."""
    return lambda: [process, *process.children(recursive=True)]


def arguments(options: Any, names: Sequence[str]) -> list[str]:
    """The options as command-line arguments for a worker process."""
    return [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in names]
