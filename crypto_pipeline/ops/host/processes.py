"""Processes of the machine, read from /proc: descendants, processes of a deployment, and ending them safely."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

from crypto_pipeline.ops.errors import OpsError

#: Environment variable of every process that a supervisor starts; its value is the data directory.
MARK = "CRYPTO_PIPELINE_SUPERVISED"
#: Environment variable with the deployment's identifier: the same path may exist in another container.
DEPLOYMENT = "CRYPTO_PIPELINE_DEPLOYMENT"
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PDEATHSIG = 1
#: Process ids of `init` and of the parent of all kernel threads, which have no environment to inherit.
_KERNEL_THREADS = 2


@dataclass(frozen=True, slots=True)
class Identity:
    """Unique identity of a process. A process id alone is not unique: the kernel reuses it, and other machines have it.

    ``started`` counts clock ticks since the boot.
    """

    host: str
    boot: str
    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Identity of the process ``pid`` of this machine; None when it is gone."""
        stat = _stat(pid)
        if stat is None or stat[0] in "ZX":
            return None
        return cls(*cls.machine(), pid, int(stat[19]))

    @staticmethod
    def machine() -> tuple[str, str]:
        """Host and boot of this machine."""
        return socket.gethostname(), boot_id()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the output of ``str``. Raises ValueError for other text."""
        try:
            host, boot, pid, started = text.rsplit(":", 3)
            return cls(host, boot, int(pid), int(started))
        except ValueError:
            raise ValueError(f"{text!r} is no process: expected host:boot:pid:started") from None

    def __str__(self) -> str:
        return f"{self.host}:{self.boot}:{self.pid}:{self.started}"

    def lives(self) -> bool:
        """Whether exactly this process runs on this machine, in this boot."""
        return Identity.of(self.pid) == self


def this_process() -> Identity:
    """The identity of this process."""
    found = Identity.of(os.getpid())
    assert found is not None, "a process that runs is alive"
    return found


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Identifier of this boot of the machine, shortened."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:13]


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose parent ends, so that none escapes supervision."""
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


def marked(data_dir: Path, deployment: str | None = None) -> list[int]:
    """Processes that a supervisor of this data directory started, running or ended; this process is excluded.

    With ``deployment``, processes that name another deployment are excluded: their container has the same path.
    """
    found = []
    for pid in _pids():
        # Skip processes that end meanwhile, and those of other users.
        with contextlib.suppress(OSError):
            if pid != os.getpid() and _is_marked(_environment(pid), data_dir, deployment):
                found.append(pid)
    return [pid for pid in found if is_alive(pid)]


def _environment(pid: int) -> bytes:
    """Environment that the process was started with.

    A process that is just becoming another program shows an empty one. That of its parent stands for it: a child
    inherits it. Raises OSError when the process is gone or is not ours to read.
    """
    shown = Path(f"/proc/{pid}/environ").read_bytes()
    stat = _stat(pid)
    if shown or stat is None or int(stat[1]) <= _KERNEL_THREADS:
        return shown
    return Path(f"/proc/{int(stat[1])}/environ").read_bytes()


def _is_marked(environment: bytes, data_dir: Path, deployment: str | None) -> bool:
    entries = environment.split(b"\0")
    if f"{MARK}={data_dir}".encode() not in entries:
        return False
    named = [entry.partition(b"=")[2].decode() for entry in entries if entry.startswith(f"{DEPLOYMENT}=".encode())]
    return deployment is None or not named or named[-1] == deployment


def reap(keep: Iterable[int] = ()) -> None:
    """Reap ended children, except those in ``keep``, for which other code waits."""
    with contextlib.suppress(ChildProcessError):  # there are no children
        # Where no child has ended, the processes of the machine need not be looked through.
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
    kept = set(keep)
    for pid in descendants(os.getpid()):
        stat = _stat(pid)
        if stat and stat[0] == "Z" and int(stat[1]) == os.getpid() and pid not in kept:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def end(pids: Iterable[int], polite: signal.Signals, timeout: float) -> list[int]:
    """Send the signal ``polite``, wait ``timeout`` seconds, then send SIGKILL to the rest. Returns the killed ids.

    A process that reuses the id of an ended one never gets a signal.
    """
    waiting = [found for pid in pids if (found := Identity.of(pid)) is not None and _send(found, polite)]
    waiting = _await_end(waiting, timeout)
    for process in waiting:
        _send(process, signal.SIGKILL)
    _await_end(waiting, 10.0)
    return [process.pid for process in waiting]


def _send(process: Identity, number: signal.Signals) -> bool:
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # A process file descriptor always refers to one process, so the checked process is the one that gets the
        # signal.
        if not process.lives():
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def _await_end(waiting: list[Identity], timeout: float) -> list[Identity]:
    deadline = time.monotonic() + timeout
    while (alive := [process for process in waiting if process.lives()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive
