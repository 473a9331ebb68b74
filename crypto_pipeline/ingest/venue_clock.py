"""The venue's clock as we know it: an anchor from the venue, and our monotonic clock from there."""

from __future__ import annotations

import time

_LEARN_FROM = 5.0
#: An answer that took longer does not say when it was true, seconds: it may have been asked for several times.
_SURE = 1.0


class VenueClock:
    """Venue time in Unix milliseconds. ``rate`` is how fast it runs (a replay may run faster than life)."""

    def __init__(self, rate: float = 1.0) -> None:
        self.rate = rate
        self._anchor: tuple[float, float] | None = None

    @property
    def known(self) -> bool:
        """Whether the venue has ever told its time."""
        return self._anchor is not None

    def set(self, venue_ms: float, asked: float, answered: float) -> None:
        """The venue said so between two moments of our monotonic clock.

        A slow answer is taken for as late as can be, and only while nothing better is known: by a clock that is ahead,
        trades that the venue has not told yet would look as if it did not know them.
        """
        slow = answered - asked > _SURE
        if slow and self._anchor is not None:
            return
        at = answered if slow else (asked + answered) / 2
        if self._anchor is not None and at - self._anchor[0] >= _LEARN_FROM:
            measured = (venue_ms - self._anchor[1]) / (at - self._anchor[0]) / 1000
            # clocks of people differ by parts in a million; anything else is a replay at another speed, or a jump
            if abs(measured / self.rate - 1) > 0.02 and 0.5 < measured < 100_000:
                self.rate = measured
        self._anchor = at, venue_ms

    def now_ms(self) -> int:
        """Venue time now; our own clock's before the venue has told."""
        if self._anchor is None:
            return int(time.time() * 1000)
        at, venue_ms = self._anchor
        return int(venue_ms + (time.monotonic() - at) * 1000 * self.rate)

    def seconds(self, venue_ms: float) -> float:
        """How long a span of venue time takes in ours."""
        return venue_ms / 1000 / self.rate
