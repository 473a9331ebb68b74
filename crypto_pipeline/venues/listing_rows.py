"""Reads listings entry by entry. An unreadable entry is logged and skipped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation

import msgspec

from crypto_pipeline.venues.decoding import UNREADABLE, quoted
from crypto_pipeline.venues.protocol import Listing, MalformedAnswer, shorten

log = logging.getLogger(__name__)

#: Greatest length of a symbol.
_LONGEST = 100


def read_listings(
    venue: str,
    entries: Iterable[msgspec.Raw],
    read: Callable[[msgspec.Raw], Listing | None],
    name_field: str,
) -> list[Listing]:
    """The listings that ``read`` returns for the entries (None: skipped). Raises MalformedAnswer if none is
    readable.
    """
    found: list[Listing] = []
    skipped: list[str] = []
    count = 0
    for count, raw in enumerate(entries, start=1):
        try:
            listing = read(raw)
            if listing is not None:
                found.append(check_listing(listing))
        except UNREADABLE as error:
            skipped.append(_name(raw, name_field) or f"entry {count}")
            log.warning("%s: the listing of %s is unreadable and skipped: %s", venue, skipped[-1], shorten(str(error)))
    if skipped and len(skipped) == count:
        raise MalformedAnswer(f"listings of {venue}: none of {count} entries is readable, the first is {skipped[0]}")
    return found


def decimal_or_none(text: str | None) -> Decimal | None:
    """A number that a venue writes as text; None for None. Raises ValueError."""
    if text is None:
        return None
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{shorten(text)!r} is not a number") from error


def check_listing(listing: Listing) -> Listing:
    """The listing. Raises ValueError for names and steps that cannot be."""
    for what, name in (("symbol", listing.venue_symbol), ("base", listing.base), ("quote", listing.quote)):
        if not 0 < len(name) <= _LONGEST or not name.isprintable():
            raise ValueError(f"its {what} is {shorten(repr(name), 40)}")
    for what, step in (("tick size", listing.tick_size), ("lot size", listing.lot_size)):
        if step is not None and not (step.is_finite() and 0 <= step < Decimal("1e15")):
            raise ValueError(f"its {what} is {shorten(str(step), 40)}")
    return listing


def _name(raw: msgspec.Raw, field: str) -> str:
    try:
        found = msgspec.json.decode(raw)
    except UNREADABLE:
        return quoted(raw)
    return shorten(str(found[field]), 40) if isinstance(found, dict) and found.get(field) else quoted(raw)
