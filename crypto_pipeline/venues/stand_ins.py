"""Substitute venues of each instrument. Each client is opened on first use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from crypto_pipeline.venues.protocol import Venue


class StandIns:
    """Substitute venues of each instrument, in the order of use. Use it in one event loop at a time.

    ``lists`` has the venues of single instruments, ``default`` those of all others. The first venue is never a
    substitute for itself.
    """

    def __init__(
        self,
        first: str,
        open_venue: Callable[[str], Venue],
        default: Iterable[str] = (),
        lists: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self.first = first
        self._open_venue = open_venue
        self._default = tuple(name for name in default if name != first)
        self._lists = {
            symbol: tuple(name for name in names if name != first) for symbol, names in (lists or {}).items() if names
        }
        self._opened: dict[str, Venue] = {}

    def for_instrument(self, instrument: str) -> tuple[str, ...]:
        """Names of the instrument's substitute venues in the order of use; may be empty."""
        return self._lists.get(instrument, self._default)

    @property
    def names(self) -> list[str]:
        """All venues that are a substitute for some instrument."""
        return list(dict.fromkeys([*self._default, *(name for names in self._lists.values() for name in names)]))

    def venue(self, name: str) -> Venue:
        """The client of a venue. Raises ValueError for an unknown venue."""
        if name not in self._opened:
            self._opened[name] = self._open_venue(name)
        return self._opened[name]

    async def close(self) -> None:
        """Close the clients that were opened."""
        opened, self._opened = self._opened, {}
        for venue in opened.values():
            await venue.close()
