"""The venue's clock: the time that the venue last stated, and our monotonic clock from there."""

from __future__ import annotations

import time

#: The rate is measured over at least this span. Seconds.
_RATE_SPAN = 5.0
#: After a longer answer it is not known when the time was stated: it may have been requested several times. Seconds.
_SLOW = 1.0


class VenueClock:
    """Venue time in Unix milliseconds. ``rate`` is how fast it runs (a replay may run faster than life)."""

    def __init__(self, rate: float = 1.0) -> None:
        self.rate = rate
        self._anchor: tuple[float, float] | None = None

    @property
    def known(self) -> bool:
        """Whether the venue has ever stated its time."""
        return self._anchor is not None

    def set(self, venue_ms: float, asked: float, answered: float) -> None:
        """Take the time that the venue stated between two moments of our monotonic clock (seconds).

        A slow answer is used only while none is known, and counts as stated at its end: with a clock that is ahead,
        trades that the venue has not published yet would seem to be missing.
        """
        slow = answered - asked > _SLOW
        if slow and self._anchor is not None:
            return
        at = answered if slow else (asked + answered) / 2
        if self._anchor is not None and at - self._anchor[0] >= _RATE_SPAN:
            measured = (venue_ms - self._anchor[1]) / (at - self._anchor[0]) / 1000
            # real clocks differ by parts in a million; anything else is a replay at another speed, or a jump
            if abs(measured / self.rate - 1) > 0.02 and 0.5 < measured < 100_000:
                self.rate = measured
        self._anchor = at, venue_ms

    def now_ms(self) -> int:
        """Venue time now; that of our own clock before the venue has stated it."""
        if self._anchor is None:
            return int(time.time() * 1000)
        at, venue_ms = self._anchor
        return int(venue_ms + (time.monotonic() - at) * 1000 * self.rate)

    def seconds(self, venue_ms: float) -> float:
        """Real seconds that a span of venue milliseconds takes."""
        return venue_ms / 1000 / self.rate
