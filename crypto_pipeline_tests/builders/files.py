"""Damage to files, as disks do it."""

from __future__ import annotations

import os
from pathlib import Path


def flip(path: Path, bit: int) -> None:
    """Turn one bit of the file around; size and times of its directory entry stay as they are."""
    entry = path.stat()
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))
    os.utime(path, ns=(entry.st_atime_ns, entry.st_mtime_ns))
