"""Where tests find things outside the package: the project's files and the recorded exchange data."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

#: The folder with pyproject.toml.
PROJECT = Path(__file__).resolve().parents[2]
#: A file system in memory, and the bytes that must be free there and in memory before a server lies in it.
_MEMORY, _ROOM, _AVAILABLE = Path("/dev/shm"), 3 * 2**30, 6 * 2**30


def server_folder(prefix: str) -> Path:
    """A new folder with a short path for a PostgreSQL server of tests.

    It is in memory where there is room: a copy of the template's 800 files then takes a tenth of the time. TMPDIR
    decides where it is set.
    """
    in_memory = "TMPDIR" not in os.environ and _has_room()
    return Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if in_memory else None))


def _has_room() -> bool:
    try:
        facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        available = int(facts["MemAvailable"].split()[0]) * 1024
        return shutil.disk_usage(_MEMORY).free >= _ROOM and available >= _AVAILABLE and os.access(_MEMORY, os.W_OK)
    except (OSError, KeyError, ValueError):
        return False


def recorded_folder() -> Path:
    """Return the folder of recorded exchange data, which has ``bars/``; skip the test where there is none."""
    folder = Path(os.environ.get("CRYPTO_PIPELINE_TEST_DATA") or PROJECT.parent / "shared" / "data")
    if not (folder / "bars").is_dir():
        pytest.skip(f"no recorded exchange data in {folder}: set CRYPTO_PIPELINE_TEST_DATA to the folder with bars/")
    return folder
