"""Work for the process of a training that imports nothing: it takes too much memory, or is killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

Told = Callable[[str, float], None]


def take(size: int, told: Told) -> dict[str, Any]:
    """Take so many bytes."""
    told("taking", 0.5)
    return {"size": len(bytearray(size))}


def die(number: int, _told: Told) -> dict[str, Any]:
    """Send this process the signal ``number``."""
    os.kill(os.getpid(), number)
    return {}
