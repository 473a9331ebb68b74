"""What the keys of a replayed Massive allow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Plan:
    """What a key may do: requests a minute (0: any), days of history, by how much its data is late, whether it has the
    streams, and how many connections it may have to each market.
    """

    requests: int = 0
    days: int = 36_500
    delay: timedelta = timedelta(0)
    expired: bool = False
    streams: bool = True
    connections: int = 1
