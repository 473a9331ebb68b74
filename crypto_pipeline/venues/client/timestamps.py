"""Conversion of venues' times to whole Unix milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from crypto_pipeline.market.times import unix_ms


class IsoTimes:
    """Converts ISO times in UTC to Unix ms. Caches the last second, because most times of a stream share it."""

    __slots__ = ("_base", "_second")

    def __init__(self) -> None:
        self._second = ""
        self._base = 0

    def ms(self, text: str) -> int:
        """Unix ms, rounded down so that a trade stays in its minute. Raises ValueError."""
        if text[-1:] != "Z" or text[19:20] not in (".", "Z"):
            return iso_ms(text)
        if text[:19] != self._second:
            self._base = iso_ms(f"{text[:19]}Z")
            self._second = text[:19]
        fraction = text[20:-1]
        if not fraction:
            return self._base
        if not fraction.isdecimal():  # int() takes signs and underscores
            raise ValueError(f"not a time: {text[:40]!r}")
        return self._base + int(fraction[:3].ljust(3, "0"))


def iso_ms(text: str) -> int:
    """Unix ms of an ISO time with its zone, rounded down. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time without a zone: {text[:40]!r}")
    return unix_ms(moment)


def readable_ms(read: Callable[[str], int], stated: object) -> int | None:
    """The time ``stated`` converted by ``read``; None if it is not a text or not a time."""
    try:
        return read(stated) if isinstance(stated, str) else None
    except ValueError:
        return None
