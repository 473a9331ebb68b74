"""File locks: they belong to open files, so the kernel takes them back however a process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_lock(path: Path) -> int:
    """A descriptor to lock; not inherited unless that is asked for."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(descriptor: int) -> bool:
    """Take the exclusive lock now, or not at all."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def shared(descriptor: int) -> Iterator[None]:
    """Hold a shared lock for the block, then close; waits while somebody holds it exclusively."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def holders(path: Path) -> list[int]:
    """Processes that have the file open: the lock's holders and those who try. Only those of our own user show."""
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
