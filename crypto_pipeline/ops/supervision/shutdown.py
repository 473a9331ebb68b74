"""Stopping everything: programs first, then runs without a code server, the database last, then all descendants."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

from crypto_pipeline.ops.host import processes
from crypto_pipeline.ops.supervision.programs import POSTGRES, SupervisedProgram
from crypto_pipeline.ops.supervision.supervisord import Supervisord


def take_down(
    client: Supervisord,
    daemon: subprocess.Popen[bytes],
    programs: Sequence[SupervisedProgram],
    say: Callable[[str], None],
    hurry: Callable[[], bool],
) -> None:
    """Stop all programs, PostgreSQL last, then all other descendants of this process.

    Runs are interrupted; that is safe, because every write is idempotent. ``hurry`` returns True to skip the waiting.
    """
    try:
        others = [program.name for program in programs if program.name != POSTGRES]
        for name in others:
            client.stop(name)
        _await_down(client, others, 20.0, hurry)
        _end_strays(client, daemon)
        client.stop(POSTGRES)
        _await_down(client, [POSTGRES], 60.0, hurry)
        client.shutdown()
        daemon.wait(timeout=15)
    except (ConnectionError, subprocess.TimeoutExpired) as error:
        say(f"supervisord does not stop by itself ({error}): ending its processes")
    end_descendants(daemon, timeout=0.0 if hurry() else 10.0)


def end_descendants(daemon: subprocess.Popen[bytes], timeout: float) -> None:
    """End all descendants of this process: first by SIGINT, PostgreSQL's fast shutdown, then by SIGKILL."""
    # Three rounds, because a process may start another one before it ends.
    for _ in range(3):
        left = [pid for pid in processes.descendants(os.getpid()) if processes.is_alive(pid)]
        if not left:
            break
        processes.end(left, signal.SIGINT, timeout)
    processes.reap(keep=[daemon.pid])
    daemon.poll()


def _await_down(client: Supervisord, names: Sequence[str], timeout: float, hurry: Callable[[], bool]) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and not hurry():
        if client.await_stopped(names, 0.5):
            return


def _end_strays(client: Supervisord, daemon: subprocess.Popen[bytes]) -> None:
    """End runs whose code server has ended, before their database stops."""
    postmasters = [info.pid for info in client.processes() if info.name == POSTGRES and info.pid]
    kept = {daemon.pid, *postmasters, *(pid for root in postmasters for pid in processes.descendants(root))}
    strays = [pid for pid in processes.descendants(os.getpid()) if pid not in kept]
    processes.end(strays, signal.SIGTERM, 5.0)
