"""Memory of programs that run for long: what they no longer use goes back to the system."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable

#: Seconds between two releases. One takes some milliseconds, in which the other threads go on.
_EVERY = 60.0


def release_memory() -> bool:
    """Return free pages of the C library's heap to the system; False where it cannot (only glibc can).

    After a start, or a frame of a million rows, the heap has many: glibc keeps them for the next allocation.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True


def release_memory_regularly(drop: Callable[[], None] | None = None) -> None:
    """Do so once a minute in a thread of this process, after ``drop`` has dropped what is not needed."""

    def work() -> None:
        while True:
            if drop is not None:
                drop()
            if not release_memory():
                return
            time.sleep(_EVERY)

    threading.Thread(target=work, name="release-memory", daemon=True).start()
