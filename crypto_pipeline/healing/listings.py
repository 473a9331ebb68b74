"""Listings: the venue's name of each collected instrument, its rules, and when it was listed and delisted."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.market import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import ListingRow, Store
from crypto_pipeline.venues import Listing, ListingStatus, StatesFormerListings, Venue, VenueError, VenueUnavailable

log = logging.getLogger(__name__)

# A symbol that its venue has halted for longer than this counts as delisted since its last bar; if trading resumes, the
# next request for listings shows it.
_HALTED_FOR_GOOD = timedelta(days=1)
#: Pauses between requests for the same instruments that a venue does not list. Seconds.
_FIRST_LOOK, _LONGEST_LOOK = 30.0, 6 * 3600.0


@dataclass(frozen=True, slots=True)
class ListingLook:
    """The last request for listings of instruments that a venue did not list, shared by all passes.

    It has the instruments, how long ago it was, and after how many seconds the next one is due.
    """

    name: str
    unlisted: tuple[str, ...] = ()
    age: float = math.inf
    pause: float = 0.0

    @classmethod
    def of(cls, store: Store, venue: str) -> ListingLook:
        """The last request as the store has it. Raises StoreError."""
        name = f"listings:{venue}"
        row = store.heartbeats.get(name)
        return cls(name) if row is None else cls(name, tuple(row.detail["unlisted"]), row.age, row.detail["pause"])

    def due(self, unlisted: Sequence[str]) -> bool:
        """Whether to request listings now; at once for instruments that were not in the last request."""
        return not set(unlisted) <= set(self.unlisted) or self.age >= self.pause

    def record(self, store: Store, unlisted: Sequence[str]) -> None:
        """Write down that listings of these were requested. Raises StoreError."""
        same = set(unlisted) <= set(self.unlisted)
        pause = min(_LONGEST_LOOK, 2 * self.pause) if same else _FIRST_LOOK
        names = sorted({*unlisted, *self.unlisted}) if same else sorted(unlisted)
        store.heartbeats.beat(self.name, "look", {"unlisted": names, "pause": pause})


async def look_for_listings(
    store: Store, venue: str, unlisted: Sequence[str], sync: Callable[[], Awaitable[object]]
) -> dict[str, str]:
    """Ask ``venue`` for listings by ``sync`` where it is time to, with growing pauses for the same ``unlisted``.

    Returns the reason of a failure for each of ``unlisted``, other instruments are not affected. Raises
    VenueUnavailable.
    """
    look = await asyncio.to_thread(ListingLook.of, store, venue)
    if not unlisted or not look.due(unlisted):
        return {}
    try:
        await sync()
    except VenueUnavailable:
        raise
    except VenueError as error:
        return dict.fromkeys(unlisted, f"{venue} does not say whether it lists it: {error}")
    finally:
        await asyncio.to_thread(look.record, store, unlisted)
    return {}


async def sync_instruments(store: Store, venue: Venue, now: datetime) -> pl.DataFrame:
    """Take over the venue's listings of all active instruments; returns one row each, nulls where it lists none.

    Where the venue does not answer for one instrument, its earlier listing stays and the others are taken over.
    """
    stated = await _stated(store, venue, own=True)
    known = {row.symbol: row for row in store.instruments.listings(venue.name)}

    async def look(symbol: str, listing: Listing) -> ListingRow:
        before = known.get(symbol)
        listed = listing.listed or (before.listed if before else None)
        first_bars = dict(before.first_bars) if before else {}
        # Requested once, as the begin of history does not change; for a symbol without a bar each time.
        if not first_bars:
            first_bars = {str(one): first for one, first in (await venue.first_bars(listing.venue_symbol)).items()}
        listed = listed or first_bars.get(str(Timeframe.M1))
        if listed is None:
            listed = await venue.listed_since(listing.venue_symbol)
        return ListingRow(
            symbol=symbol,
            venue_symbol=listing.venue_symbol,
            listed=listed,
            delisted=listing.delisted or await _delisted(venue, listing, now),
            status=str(listing.status),
            tick_size=listing.tick_size,
            lot_size=listing.lot_size,
            first_bars=first_bars,
        )

    async def look_alone(symbol: str, listing: Listing) -> ListingRow | None:
        try:
            return await look(symbol, listing)
        except VenueError as error:
            log.warning("%s: %s does not say since when it lists it, asked again later: %s", symbol, venue.name, error)
            return known.get(symbol)

    rows = await asyncio.gather(*(look_alone(symbol, listing) for symbol, listing in stated.items()))
    store.instruments.set_listings(venue.name, [row for row in rows if row is not None])
    return store.instruments.frame(venue.name, own=True)


async def sync_names(store: Store, venue: Venue) -> None:
    """Take over only the venue's names of the active instruments: enough to ask it for their newest bars."""
    rows = [
        ListingRow(symbol, listing.venue_symbol, status=str(listing.status))
        for symbol, listing in (await _stated(store, venue)).items()
    ]
    store.instruments.set_listings(venue.name, rows)


async def _stated(store: Store, venue: Venue, *, own: bool = False) -> dict[str, Listing]:
    """The venue's listings of the active instruments that it has, by canonical name; ``own``: of its own series."""
    rows = store.instruments.list(venue=venue.name if own else None)
    instruments = [row.instrument for row in rows]
    found = listed(instruments, venue.name, await venue.listings())
    if not isinstance(venue, StatesFormerListings):
        return found
    of_venue = (one for one in instruments if one.venue in (None, venue.name) and one.symbol not in found)
    gone = [one for one in of_venue if one.asset_class is venue.traits.asset_class]
    former = await venue.former_listings([one.venue_symbol(venue.name) for one in gone])
    return found | listed(gone, venue.name, former)


def listed(instruments: Iterable[Instrument], venue: str, listings: Iterable[Listing]) -> dict[str, Listing]:
    """The venue's listing of each instrument that it has, by canonical name."""
    by_pair, by_symbol = {}, {}
    for listing in listings:
        by_pair[listing.base, listing.quote] = listing
        by_symbol[listing.venue_symbol] = listing
    found = {}
    for instrument in instruments:
        override = instrument.venue_symbols.get(venue)
        one = by_symbol.get(override) if override else by_pair.get((instrument.base, instrument.quote))
        if one is not None:
            found[instrument.symbol] = one
    return found


async def _delisted(venue: Venue, listing: Listing, now: datetime) -> datetime | None:
    if listing.status is ListingStatus.TRADING:
        return None
    newest = await venue.last_bar(listing.venue_symbol)
    if newest is None or now - newest < _HALTED_FOR_GOOD:
        return None
    return newest + timedelta(minutes=1)
