"""Free space on the disk of the data directory: limits, and a reserve file that is deleted when the disk is nearly
full.

A full disk stops PostgreSQL in the middle of its work and keeps it from starting again. So a file reserves some space.
When the disk is nearly full the file is deleted and an alert opens. When that space is used up as well, everything is
stopped while a clean stop is still possible, and started again when there is enough free space.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

#: Error numbers of a write to a full disk.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MB = 1_000_000
_PIECE = 16 * _MB


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """Limits in bytes: the size of the ``reserve`` file; the free space below which everything is stopped
    (``stop``); the free space below which an alert warns (``warn``).
    """

    reserve: int
    stop: int
    warn: int

    @classmethod
    def of(cls, total: int, reserve_mb: int) -> DiskLimits:
        """Limits for a disk of ``total`` bytes: fixed figures, or shares of the disk if it is small."""
        reserve = min(reserve_mb * _MB, total // 20)
        stop = min(200 * _MB, total // 25)
        return cls(reserve, stop, stop + min(5_000 * _MB, total // 10))

    @property
    def start(self) -> int:
        """Free bytes from which everything is started again: the reserve and a margin above ``stop``."""
        return self.reserve + 2 * self.stop


class Disk:
    """The disk of one data directory, and the reserve file on it."""

    def __init__(self, data_dir: Path, reserve_mb: int) -> None:
        self._data_dir = data_dir
        self._reserve = data_dir / "reserve"
        #: Size of the disk in bytes.
        self.total = shutil.disk_usage(data_dir).total
        self.limits = DiskLimits.of(self.total, reserve_mb)

    @property
    def free(self) -> int:
        """Free bytes now."""
        return shutil.disk_usage(self._data_dir).free

    @property
    def reserved(self) -> int:
        """Bytes of the reserve file now."""
        return reserved(self._data_dir)

    def keep_reserve(self) -> bool:
        """Make the reserve file if it is missing and there is enough space; True if it exists or its size is set to
        0.
        """
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
        """Delete the reserve file; return the freed bytes."""
        return give_up_reserve(self._data_dir)


def reserved(data_dir: Path) -> int:
    """Bytes of the reserve file of a data directory."""
    try:
        return (data_dir / "reserve").stat().st_size
    except FileNotFoundError:
        return 0


def give_up_reserve(data_dir: Path) -> int:
    """Delete the reserve file of a data directory; return the freed bytes."""
    size = reserved(data_dir)
    (data_dir / "reserve").unlink(missing_ok=True)
    return size


def _fill(path: Path, size: int) -> None:
    """Write a file that really occupies ``size`` bytes: not sparse, and not compressible by the file system."""
    new = path.with_suffix(".new")
    try:
        with new.open("wb") as file:
            for start in range(0, size, _PIECE):
                file.write(os.urandom(min(_PIECE, size - start)))
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def size_text(count: float) -> str:
    """Bytes as text for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:,.0f} {unit}" if unit in ("B", "kB") else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
