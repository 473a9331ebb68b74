"""A real deployment for tests: `up` in a process of its own, on free ports and a data directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from crypto_pipeline.ops.host import processes
from crypto_pipeline.ops.host.paths import Places, UpState, running_state
from crypto_pipeline.ops.status import gather
from crypto_pipeline.ops.supervision import health
from crypto_pipeline.settings import load_settings

PROGRAMS = ("postgres", "replay", "ingest-0", "code-server", "webserver", "daemon", "api", "notifier")


def crowding() -> float:
    """How many processes compete for each processor now, at least one: bounds are meant for a machine of our own."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def await_(done: Callable[[], bool], patience: float) -> None:
    """Wait until ``done``; fail after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


#: Options of `up`: every program listens on a port that is free.
FREE_PORTS = ("--ui-port", "0", "--replay-port", "0", "--api-port", "0")


class Deployment:
    """`crypto-pipeline up` with two generated instruments and one day of history."""

    def __init__(self, *options: str, **settings: str) -> None:
        # A short path (sockets), which others may enter (PostgreSQL may have to step down from root).
        self.data_dir = Path(tempfile.mkdtemp(prefix="cp-up-"))
        self.places = Places(self.data_dir)
        self.options = (*FREE_PORTS, "--instruments", "2", "--days", "1", *options)
        self.settings = {f"CRYPTO_PIPELINE_{name.upper()}": value for name, value in settings.items()}
        self.process: subprocess.Popen[str] | None = None
        self.output = self.data_dir / "output"
        self.took = 0.0

    @property
    def environment(self) -> dict[str, str]:
        """Without settings of the person who runs the tests."""
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("CRYPTO_PIPELINE_", "DAGSTER_"))
        }
        return clean | self.settings | {"CRYPTO_PIPELINE_DATA_DIR": str(self.data_dir)}

    def command(self, *arguments: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        """Run one command on this deployment."""
        return subprocess.run(
            [sys.executable, "-m", "crypto_pipeline.cli", *arguments],
            env=self.environment, capture_output=True, text=True, timeout=timeout * crowding(), check=False,
        )  # fmt: skip

    def start(self) -> Self:
        """Start and wait until healthy."""
        started = time.monotonic()
        self.begin()
        self.await_healthy(60 * crowding())
        self.took = time.monotonic() - started
        return self

    def detach(self) -> None:
        """`up --detach`: it returns when everything is healthy, and says where."""
        answer = self.command("up", "--detach", *self.options)
        assert answer.returncode == 0, answer.stderr
        assert self.state.urls["ui"] in answer.stdout
        assert self.ask().healthy
        self.process = None

    def begin(self) -> None:
        """Start, and wait for nothing."""
        with self.output.open("a") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "crypto_pipeline.cli", "up", *self.options],
                env=self.environment, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
            )  # fmt: skip

    @property
    def state(self) -> UpState:
        """What runs now."""
        found = running_state(self.places)
        assert found is not None, self.output.read_text()
        return found

    def ask(self) -> health.HealthReport:
        """Ask every program once, as `status` does."""
        state = self.state
        # no state file names them: they may hold a password
        own, direct = (self.settings.get(f"CRYPTO_PIPELINE_DATABASE_{name}") for name in ("URL", "DIRECT_URL"))
        given: dict[str, Any] = {"database_url": own, "database_direct_url": direct, **state.settings}
        settings = load_settings(data_dir=self.data_dir, **given)
        return health.ask(settings, self.places, state)

    def pid(self, name: str) -> int:
        """Process id of a program, of supervisord or of `up`."""
        if name == "supervisord":
            assert self.state.supervisord_pid
            return self.state.supervisord_pid
        if name == "up":
            return self.state.pid
        return next(info.pid for info in self.ask().processes if info.name == name and info.pid)

    def pids(self) -> dict[str, int]:
        """Process ids of everything that is supervised."""
        return {name: self.pid(name) for name in ("supervisord", *PROGRAMS)}

    def await_end(self, pid: int, patience: float = 30) -> None:
        """Until the process is gone; fails when that takes too long."""
        until = time.monotonic() + patience
        while processes.is_alive(pid):
            assert time.monotonic() < until, f"process {pid} does not end"
            time.sleep(0.02)

    def await_healthy(self, patience: float, without: int | None = None) -> float:
        """Seconds until everything answers (with process ``without`` replaced); fails when that takes too long."""
        started = time.monotonic()
        last: Any = "nothing"
        while time.monotonic() - started < patience:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"up ended with {self.process.returncode}: {self.output.read_text()}")
            state = running_state(self.places)
            if state is not None and state.phase == "healthy" and (without is None or not processes.is_alive(without)):
                found = self.ask()
                last = found.troubles
                if found.healthy:
                    return time.monotonic() - started
            time.sleep(0.1)
        raise AssertionError(f"not healthy within {patience} s: {last}\n{self.output.read_text()}")

    def status(self) -> dict[str, Any]:
        """`status --json`."""
        return dict(json.loads(self.command("status", "--json").stdout))

    def rows(self) -> dict[str, int]:
        """Stored bars per timeframe."""
        found = gather(load_settings(data_dir=self.data_dir, **self.state.settings))
        return {name: row["rows"] for name, row in found["timeframes"].items()}

    def stop(self) -> None:
        """Ctrl-C, then make sure that nothing is left, also after a failed test."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
            self.process.kill()
        processes.end(processes.marked(self.data_dir), signal.SIGINT, 10)
        shutil.rmtree(self.data_dir, ignore_errors=True)
