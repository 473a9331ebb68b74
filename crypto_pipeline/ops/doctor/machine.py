"""The machine itself: Python, kind of machine, processors, memory, limits of the user, texts and time zones."""

from __future__ import annotations

import os
import platform
import resource
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from crypto_pipeline.ops.doctor.requirements import Requirement
from crypto_pipeline.ops.host.disk_space import size_text
from crypto_pipeline.ops.host.usage import host_usage
from crypto_pipeline.store.embedded.postgresql_conf import memory

#: The oldest Python that is supported, and the newest that the tests ran on.
OLDEST, NEWEST = (3, 11), (3, 13)
#: Bytes: below the first nothing works well, below the second a large universe does not.
LEAST_MEMORY, GOOD_MEMORY = 2_000_000_000, 4_000_000_000
#: Open files of one process: sockets, connections and the files of Parquet reads.
_FILES = 1024
_ZONE = "America/New_York"


def python() -> Requirement:
    """The interpreter's version."""
    version = sys.version_info[:2]
    found = f"Python {platform.python_version()}"
    if version < OLDEST:
        return Requirement("python", "bad", found, f"Install Python {_dotted(OLDEST)} or newer.")
    if version > NEWEST:
        return Requirement(
            "python", "note", found, f"The tests ran on {_dotted(OLDEST)} to {_dotted(NEWEST)}: use one of these."
        )
    return Requirement("python", "ok", found)


def machine_kind() -> Requirement:
    """Operating system and processor: what the packages have compiled programs for, and what was tried."""
    kind, system = platform.machine(), platform.system()
    found = f"{system} on {kind}"
    if system != "Linux":
        return Requirement("machine", "bad", found, "Use Linux: supervision reads /proc and uses its file locks.")
    if kind not in ("x86_64", "AMD64"):
        return Requirement("machine", "note", found, "Only x86-64 was tried; the packages have wheels for arm64 too.")
    return Requirement("machine", "ok", found)


def processors() -> Requirement:
    """Processors that this process may use."""
    count = len(os.sched_getaffinity(0))
    found = f"{count} {'processor' if count == 1 else 'processors'}"
    if count < 2:
        return Requirement("processors", "note", found, "Two or more: the first backfill takes twice as long on one.")
    return Requirement("processors", "ok", found)


def memory_size() -> Requirement:
    """Memory of the machine or of the container, and what of it is free."""
    total, free = memory(), host_usage().memory_available_bytes
    found = f"{size_text(total)}, of which {size_text(min(total, free))} are free"
    if total < LEAST_MEMORY:
        return Requirement(
            "memory", "bad", found, f"Give the machine or container {size_text(LEAST_MEMORY)} or more; at rest a "
            "deployment of 20 instruments has 1.2 GB."
        )  # fmt: skip
    if total < GOOD_MEMORY or free < LEAST_MEMORY // 2:
        return Requirement("memory", "note", found, "Enough for tens of instruments; give more for hundreds.")
    return Requirement("memory", "ok", found)


def shared_memory(folder: Path = Path("/dev/shm")) -> Requirement:  # noqa: S108  (its usual place)
    """Shared memory, which parallel queries of the embedded PostgreSQL use where it is large enough."""
    try:
        size = os.statvfs(folder)
    except OSError:
        return Requirement(
            "shared memory", "note", f"{folder} is absent", "PostgreSQL uses files instead; mount a tmpfs there."
        )
    total = size.f_frsize * size.f_blocks
    if not os.access(folder, os.W_OK):
        return Requirement("shared memory", "note", f"{folder} may not be written", f"Run `chmod 1777 {folder}`.")
    if total < 128_000_000:
        return Requirement(
            "shared memory", "note", f"{folder} has {size_text(total)}", "PostgreSQL uses files instead, which is "
            "slower; give a container --shm-size=1g."
        )  # fmt: skip
    return Requirement("shared memory", "ok", f"{folder} has {size_text(total)}")


def open_files() -> Requirement:
    """How many files a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft:,} open files for each process"
    if soft < _FILES:
        how = f"`ulimit -n {_FILES}`" if hard >= _FILES else "LimitNOFILE= of systemd, or --ulimit of a container"
        return Requirement("open files", "bad", found, f"Allow {_FILES} or more: {how}.")
    return Requirement("open files", "ok", found)


def text_encoding() -> Requirement:
    """The encoding of texts: file names and output have characters beyond ASCII."""
    encoding = sys.getfilesystemencoding()
    output = getattr(sys.stdout, "encoding", None) or encoding
    if {encoding.lower(), output.lower()} <= {"utf-8", "utf8"}:
        return Requirement("locale", "ok", f"texts are {encoding}")
    return Requirement(
        "locale", "bad", f"texts are {encoding}, output is {output}", "Set LC_ALL=C.UTF-8 or PYTHONUTF8=1."
    )


def time_zones() -> Requirement:
    """The time zone database: stock exchanges and reports have local times."""
    try:
        ZoneInfo(_ZONE).utcoffset(datetime(2026, 1, 1))  # noqa: DTZ001  (the zone is asked, not given)
    except (ZoneInfoNotFoundError, OSError):
        return Requirement("time zones", "bad", f"no data of {_ZONE}", "Run `pip install tzdata`.")
    return Requirement("time zones", "ok", f"{_ZONE} is known")


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
