"""File locks: they belong to open files, so the kernel releases them when a process ends in any way."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_lock(path: Path) -> int:
    """Open a descriptor to lock; child processes do not inherit it unless that is requested."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(descriptor: int) -> bool:
    """Try to take the exclusive lock without waiting; whether it was taken."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def shared(descriptor: int) -> Iterator[None]:
    """Hold a shared lock for the block, then close the descriptor; waits while another process holds it exclusively."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def holders(path: Path) -> list[int]:
    """Process ids that have the file open: the lock's holders and those that try to take it. Own user's only."""
    wanted = path.stat()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(_same(entry, wanted) for entry in (process / "fd").iterdir()):
                found.append(int(process.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


def _same(entry: Path, wanted: os.stat_result) -> bool:
    try:
        found = entry.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)
