"""Venues that stand in for the first one, by instrument. Each is opened on first use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from crypto_pipeline.venues.protocol import Venue


class StandIns:
    """The other venues of an instrument, in the order in which they are asked. Use from one event loop at a time.

    ``lists`` has the instruments that name their own, ``default`` is for all others. The first venue never stands in
    for itself.
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
        """Names of the venues that stand in for the first one, in the order in which they are asked; may be empty."""
        return self._lists.get(instrument, self._default)

    @property
    def names(self) -> list[str]:
        """Every venue that stands in for the first one for some instrument."""
        return list(dict.fromkeys([*self._default, *(name for names in self._lists.values() for name in names)]))

    def venue(self, name: str) -> Venue:
        """The client of a venue. Raises ValueError for one that is not known."""
        if name not in self._opened:
            self._opened[name] = self._open_venue(name)
        return self._opened[name]

    async def close(self) -> None:
        """Close the clients that were opened."""
        opened, self._opened = self._opened, {}
        for venue in opened.values():
            await venue.close()
