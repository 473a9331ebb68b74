"""Processes of the machine, read from /proc: who descends from us, who is ours, and how to be rid of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from crypto_pipeline.ops.errors import OpsError

#: Every process we start carries it in its environment, with the data directory as value.
MARK = "CRYPTO_PIPELINE_SUPERVISED"
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PDEATHSIG = 1


def adopt_orphans() -> None:
    """Make every descendant whose parent dies our own child, so that none can be lost."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this process the signal ``number`` when its parent dies."""
    _prctl(_PR_SET_PDEATHSIG, int(number))


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OpsError(f"the kernel refuses prctl({option}): {os.strerror(ctypes.get_errno())}")


def _pids() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat after the command name: state, parent, … None when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def started_at(pid: int) -> float | None:
    """Unix time at which the process was started; None when it is gone."""
    stat = _stat(pid)
    if stat is None:
        return None
    boot = next(
        float(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
    )
    return boot + int(stat[19]) / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """Every process below ``pid``, zombies included."""
    children: dict[int, list[int]] = {}
    for other in _pids():
        if stat := _stat(other):
            children.setdefault(int(stat[1]), []).append(other)
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def marked(data_dir: Path) -> list[int]:
    """Processes of ours that some supervisor of this data directory started, also a dead one. Without ourselves."""
    wanted = f"{MARK}={data_dir}".encode()
    found = []
    for pid in _pids():
        # Processes that end meanwhile, and those of other users, are not ours.
        with contextlib.suppress(OSError):
            if pid != os.getpid() and wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return [pid for pid in found if is_alive(pid)]


def reap(keep: Iterable[int] = ()) -> None:
    """Collect children of ours that ended, except those in ``keep``, whose own waiters want their status."""
    kept = set(keep)
    for pid in descendants(os.getpid()):
        stat = _stat(pid)
        if stat and stat[0] == "Z" and int(stat[1]) == os.getpid() and pid not in kept:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def end(pids: Iterable[int], polite: signal.Signals, patience: float) -> list[int]:
    """Send ``polite``, wait, then SIGKILL what is left. Returns those that had to be killed."""
    waiting = [pid for pid in pids if _send(pid, polite)]
    waiting = _await_end(waiting, patience)
    for pid in waiting:
        _send(pid, signal.SIGKILL)
    _await_end(waiting, 10.0)
    return waiting


def _send(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _await_end(pids: list[int], patience: float) -> list[int]:
    deadline = time.monotonic() + patience
    while (alive := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive
