"""Room on the disk of the data directory: a reserve that is given up first, and when to stop before nothing is left.

A full disk ends PostgreSQL in the middle of its work and keeps it from starting again. So some room is kept in a file
of its own. When the disk is nearly full the file is deleted, which is told; when even that is used up, everything is
stopped while there is still room to stop in, and started again when somebody has made room.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

#: What a write says when there is no room.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MB = 1_000_000
_PIECE = 16 * _MB


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """Bytes: the ``reserve`` file, the free room below which everything is stopped (``stop``), and below which a person
    is warned (``warn``, long before).
    """

    reserve: int
    stop: int
    warn: int

    @classmethod
    def of(cls, total: int, reserve_mb: int) -> DiskLimits:
        """For a disk of ``total`` bytes: fixed figures, and shares of it where it is small."""
        reserve = min(reserve_mb * _MB, total // 20)
        stop = min(200 * _MB, total // 25)
        return cls(reserve, stop, stop + min(5_000 * _MB, total // 10))

    @property
    def start(self) -> int:
        """Free room from which everything is started again: the reserve, and some before the next stop."""
        return self.reserve + 2 * self.stop


class Disk:
    """The disk below one data directory, and the reserve on it."""

    def __init__(self, data_dir: Path, reserve_mb: int) -> None:
        self._data_dir = data_dir
        self._reserve = data_dir / "reserve"
        self.limits = DiskLimits.of(shutil.disk_usage(data_dir).total, reserve_mb)

    @property
    def free(self) -> int:
        """Bytes that may be written now."""
        return shutil.disk_usage(self._data_dir).free

    @property
    def reserved(self) -> int:
        """Bytes that the reserve holds now."""
        return reserved(self._data_dir)

    def keep_reserve(self) -> bool:
        """Make the reserve if there is none and room for more than it; True when it is there (or none is wanted)."""
        if self.reserved >= self.limits.reserve:
            return True
        if self.free < self.limits.start:
            return False
        try:
            _fill(self._reserve, self.limits.reserve)
        except OSError as error:
            self._reserve.unlink(missing_ok=True)
            if error.errno not in FULL:
                raise
            return False
        return True

    def give_up_reserve(self) -> int:
        """Delete the reserve; returns how many bytes that freed."""
        return give_up_reserve(self._data_dir)


def reserved(data_dir: Path) -> int:
    """Bytes that the reserve of a data directory holds."""
    try:
        return (data_dir / "reserve").stat().st_size
    except FileNotFoundError:
        return 0


def give_up_reserve(data_dir: Path) -> int:
    """Delete the reserve of a data directory; returns how many bytes that freed."""
    size = reserved(data_dir)
    (data_dir / "reserve").unlink(missing_ok=True)
    return size


def _fill(path: Path, size: int) -> None:
    """A file whose room is really taken: not sparse, and nothing that a file system could compress away."""
    new = path.with_suffix(".new")
    try:
        with new.open("wb") as file:
            for start in range(0, size, _PIECE):
                file.write(os.urandom(min(_PIECE, size - start)))
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
