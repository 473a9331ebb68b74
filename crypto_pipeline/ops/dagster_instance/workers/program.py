"""``python -m …workers.program NAME RUNS QUEUES``: the worker itself, in the environment that ``start`` made.

It imports what runs need, and forks a process for each run that it takes from redis.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import crypto_pipeline.ops.without_pandas  # noqa: F401  (before anything that imports ADBC)
from crypto_pipeline.ops.dagster_instance.beta_warnings import ignore_beta_warnings
from crypto_pipeline.settings import load_settings


def main(name: str, runs: int, queues: Sequence[str]) -> None:
    """Be a worker with ``runs`` slots until SIGTERM; the runs that go on then are interrupted, and asked for again."""
    from celery.signals import worker_shutting_down

    from crypto_pipeline.ops.dagster_instance.code_server import PRELOAD
    from crypto_pipeline.ops.dagster_instance.workers.tasks import worker_app

    ignore_beta_warnings()
    broker = load_settings().celery_broker_url
    assert broker is not None, "`start` has refused it"
    app = worker_app(broker.get_secret_value(), name)
    for module in PRELOAD:
        import_module(module)
    # Pages of objects that the collector leaves alone stay shared with the processes of runs.
    gc.collect()
    gc.freeze()
    beat = _heartbeat(name, runs, queues)
    worker_shutting_down.connect(_interrupt_runs, weak=False)
    try:
        app.worker_main(
            [
                "worker", "--pool", "prefork", "--concurrency", str(runs), "--queues", ",".join(queues),
                "--hostname", f"{name}@%h", "--loglevel", "WARNING", "--optimization", "fair",
                "--without-gossip", "--without-mingle", "--without-heartbeat",
            ]
        )  # fmt: skip
    finally:
        beat.terminate()
        beat.wait(10)


def _heartbeat(name: str, runs: int, queues: Sequence[str]) -> subprocess.Popen[bytes]:
    detail = json.dumps({"runs": runs, "queues": list(queues)})
    module = "crypto_pipeline.ops.dagster_instance.workers.heartbeat"
    return subprocess.Popen([sys.executable, "-m", module, name, detail])


def _interrupt_runs(**_: Any) -> None:
    """Interrupt what goes on: ingest hands over, other runs are asked for again and begin elsewhere."""
    from celery.worker import state

    for request in list(state.active_requests):
        if (pid := getattr(request, "worker_pid", None)) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3].split(","))
