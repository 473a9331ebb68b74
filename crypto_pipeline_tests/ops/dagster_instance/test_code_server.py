"""Runs are forked from a process that has imported what they need, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_IMPORTED = """
import importlib, json, os, pathlib, sys, threading
from crypto_pipeline.ops.dagster_instance import code_server
for name in code_server.PRELOAD:
    importlib.import_module(name)
tasks = [pathlib.Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in os.listdir("/proc/self/task")]
links = []
for number in os.listdir("/proc/self/fd"):
    try:
        links.append(os.readlink(f"/proc/self/fd/{number}"))
    except OSError:
        pass
sockets = [one for one in links if "socket" in one]
print(json.dumps({"python": threading.active_count(), "tasks": tasks, "sockets": sockets}))
"""

_FORKED = """
import multiprocessing, os, sys
from crypto_pipeline.ops.dagster_instance import code_server
from dagster._grpc.server import DagsterApiServer

def look(queue):
    import polars as pl
    loaded = "crypto_pipeline.preloaded_definitions" in sys.modules
    queue.put((loaded, pl.select(pl.int_range(10).sum()).item(), os.getppid()))

if __name__ == "__main__":
    if "forked" in sys.argv:
        code_server.fork_server()
    code_server.fork_runs()
    context = multiprocessing.get_context("forkserver")
    found = []
    for _ in range(2):
        queue = context.Queue()
        worker = context.Process(target=look, args=(queue,))
        worker.start()
        found.append(queue.get(timeout=120))
        worker.join(30)
    assert [one[:2] for one in found] == [(True, 45)] * 2, found
    assert found[0][2] == found[1][2] != os.getpid()
"""


def test_what_runs_are_forked_from_has_no_thread_at_work_and_no_connection() -> None:
    ended = subprocess.run([sys.executable, "-c", _IMPORTED], capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["python"] == 1
    assert found["sockets"] == []
    # Allocators and Polars keep a thread each that only tidies up; those that compute would hold locks.
    assert not [task for task in found["tasks"] if task.startswith(("polars-0", "rayon", "grpc", "tokio"))], found


@pytest.mark.parametrize("way", ["forked", "spawned"])
def test_runs_find_the_definitions_imported_and_share_one_parent(tmp_path: Path, way: str) -> None:
    script = tmp_path / "forked.py"
    script.write_text(_FORKED)
    subprocess.run([sys.executable, str(script), way], capture_output=True, text=True, check=True, timeout=180)
