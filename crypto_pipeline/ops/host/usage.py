"""What this machine and single processes use: processor time, memory and disk, from /proc. Linux only."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class HostUsage:
    """The machine at one moment. Bytes and seconds.

    Attributes:
        processors: How many processors there are.
        load: Mean number of processes that wanted to run over one, five and fifteen minutes.
        cpu_seconds: Time of all processors since the start of the machine.
        cpu_busy_seconds: The part of it in which they worked.
        memory_bytes: Memory of the machine.
        memory_available_bytes: What programs can still take.
    """

    processors: int
    load: tuple[float, float, float]
    cpu_seconds: float
    cpu_busy_seconds: float
    memory_bytes: int
    memory_available_bytes: int


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """The disk of a folder, in bytes."""

    size_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """One process: processor time in seconds, and resident memory in bytes (shared pages are counted too)."""

    cpu_seconds: float
    resident_bytes: int


def host_usage() -> HostUsage:
    """The machine now. Raises OSError where /proc does not exist."""
    ticks = [int(each) for each in (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    memory = {}
    for line in (_PROC / "meminfo").read_text().splitlines()[:5]:
        name, _, rest = line.partition(":")
        memory[name] = int(rest.split()[0]) * 1024
    return HostUsage(
        os.cpu_count() or 1, os.getloadavg(), sum(ticks) / _ticks(), (sum(ticks) - idle) / _ticks(),
        memory["MemTotal"], memory["MemAvailable"],
    )  # fmt: skip


def disk_usage(folder: Path) -> DiskUsage:
    """The disk that holds ``folder``. Raises OSError."""
    found = shutil.disk_usage(folder)
    return DiskUsage(found.total, found.free)


def process_usage(pid: int) -> ProcessUsage | None:
    """A process of this machine now; None if there is none with this number."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return ProcessUsage((int(fields[11]) + int(fields[12])) / _ticks(), pages * os.sysconf("SC_PAGE_SIZE"))


@lru_cache(maxsize=1)
def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")
