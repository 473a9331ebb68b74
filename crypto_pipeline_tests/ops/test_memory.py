"""Freed memory goes back to the system."""

from __future__ import annotations

import subprocess
import sys

_USES_AND_FREES = """
import ctypes
from pathlib import Path
from crypto_pipeline.ops.host.memory import release_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(16_000) for _ in range(10_000)]  # below the size that is mapped by itself
for block in blocks:
    ctypes.memset(block, 1, 16_000)
for block in blocks[:-1]:  # the last one keeps the heap from shrinking by itself
    libc.free(block)
before = resident()
assert release_memory()
print(before - resident())
"""


def test_free_pages_of_the_heap_are_returned() -> None:
    ended = subprocess.run([sys.executable, "-c", _USES_AND_FREES], capture_output=True, text=True, check=True)
    assert int(ended.stdout) > 100 * 2**20
