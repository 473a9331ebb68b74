"""The exchange's own clock: real time, or another starting point and speed."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

from crypto_pipeline.market.timeframes import require_utc
from crypto_pipeline.replay.errors import ReplayError


class VirtualClock:
    """Venue time in milliseconds. It starts at ``start`` (default: now) and runs ``speed`` times as fast."""

    def __init__(self, start: datetime | None = None, speed: float = 1.0) -> None:
        self._lock = threading.Lock()
        self.set(now=start, speed=speed)

    def set(self, now: datetime | None = None, speed: float | None = None) -> None:
        """Set the clock to ``now`` and ``speed``; a None leaves that value unchanged. Raises ReplayError for a bad
        speed.
        """
        if speed is not None and not 0 <= speed <= 1_000_000:
            raise ReplayError(f"clock speed {speed}: use a number from 0 (stands still) to 1000000")
        with self._lock:
            if now is not None:
                base = require_utc(now).timestamp() * 1000
            elif hasattr(self, "_base_ms"):
                base = self._reading()
            else:
                base = time.time() * 1000
            self._base_ms, self._started = base, time.monotonic()
            if speed is not None:
                self._speed = speed

    def _reading(self) -> float:
        return self._base_ms + (time.monotonic() - self._started) * self._speed * 1000

    def now_ms(self) -> int:
        """Venue time in Unix milliseconds."""
        with self._lock:
            return int(self._reading())

    def now(self) -> datetime:
        """Venue time as an aware datetime."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self.now_ms())

    @property
    def speed(self) -> float:
        """Venue seconds per real second."""
        return self._speed
