"""Parts of the benches of workers: a redis of their own, and workers that are killed and started again."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fire_exam import Exam

from crypto_pipeline.ops.host.processes import Identity
from crypto_pipeline.ops.supervision.programs import _as_text
from crypto_pipeline.settings import PREFIX


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def redis() -> Iterator[str]:
    """URL of a redis with a password that keeps nothing on disk."""
    port, password = free_port(), secrets.token_hex(12)
    with tempfile.TemporaryDirectory(prefix="cp-redis-") as folder:
        settings = Path(folder, "redis.conf")
        settings.write_text(
            f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\ndir {folder}\n'
        )
        with subprocess.Popen(["redis-server", str(settings)], stdout=subprocess.DEVNULL) as server:
            try:
                for _ in range(100):
                    with socket.socket() as asking:
                        if asking.connect_ex(("127.0.0.1", port)) == 0:
                            break
                    time.sleep(0.05)
                yield f"redis://:{password}@127.0.0.1:{port}/0"
            finally:
                server.terminate()


class Worker:
    """`crypto-pipeline run-worker` with a data directory of its own, as on another machine."""

    def __init__(self, exam: Exam, name: str, broker: str, runs: int) -> None:
        self.name, self._runs = name, runs
        self.data_dir = Path(tempfile.mkdtemp(prefix=f"cp-{name}-"))
        clean = {
            key: value for key, value in os.environ.items() if not key.startswith(("CRYPTO_PIPELINE_", "DAGSTER_"))
        }
        given = {f"{PREFIX}{key.upper()}": _as_text(value) for key, value in exam.house.state.settings.items()}
        self._environment = clean | given | {
            f"{PREFIX}DATA_DIR": str(self.data_dir), f"{PREFIX}DATABASE_URL": exam.url,
            f"{PREFIX}CELERY_BROKER_URL": broker,
        }  # fmt: skip
        self.log = self.data_dir / "log"
        self.process: subprocess.Popen[bytes]
        self.begin()

    def begin(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "crypto_pipeline.cli", "run-worker", "--name", self.name]
            self.process = subprocess.Popen(
                [*command, "--runs", str(self._runs)], env=self._environment, stdout=log, stderr=log
            )

    @property
    def identity(self) -> str:
        return str(Identity.of(self.process.pid))

    def kill(self, away: float) -> None:
        """SIGKILL; it is started again after ``away`` seconds, as systemd does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        threading.Timer(away, self.begin).start()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.data_dir, ignore_errors=True)
