"""Instruments that a person wants to add, checked against what the venue lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from crypto_pipeline.healing.listings import listed
from crypto_pipeline.market import Instrument
from crypto_pipeline.market.instruments import AssetClass, find_symbol, name_at, one_spelling
from crypto_pipeline.market.near_names import did_you_mean, near_names
from crypto_pipeline.venues import Listing, ListingStatus, traits_of


@dataclass(frozen=True, slots=True)
class Addition:
    """One instrument that may be added. ``listing`` is None where the venue has none or was not asked."""

    instrument: Instrument
    listing: Listing | None

    @property
    def remark(self) -> str:
        """A remark for the person who adds it; empty where there is none."""
        if self.listing is None or self.listing.status is ListingStatus.TRADING:
            return ""
        return f"the venue does not let it trade now ({self.listing.status}): its history is collected"

    def at(self, default: str) -> Addition:
        """The same with the venue stated; ``default`` is that of an instrument which names none."""
        instrument = self.instrument
        return replace(self, instrument=instrument.model_copy(update={"venue": instrument.venue or default}))


def of_venues(
    names: Sequence[str], universe: Sequence[Instrument], default: str, venues: Sequence[str]
) -> dict[str, list[str]]:
    """``names`` by the venue that each is of; ``default`` is that of a name which says none. A ticker, which is no pair
    as the default venue of crypto has them, is of the first of ``venues`` that has stocks.

    Raises ValueError for a venue that is none of ``venues``.
    """
    found: dict[str, list[str]] = {}
    stocks = next((each for each in venues if traits_of(each).asset_class is AssetClass.STOCK), default)
    of_symbol = {each.symbol: each.venue for each in universe}
    for name in names:
        stated = name.partition("@")[2] or of_symbol.get(find_symbol(name, of_symbol) or "")
        venue = stated or (default if "-" in name else stocks)
        if venue not in venues:
            raise ValueError(
                f"{name}: this deployment collects from {', '.join(venues)}; name {venue} in a group of the universe "
                "file and start it again"
            )
        found.setdefault(venue, []).append(name)
    return found


def additions(
    names: Sequence[str],
    universe: Sequence[Instrument],
    venue: str,
    listings: Sequence[Listing],
    asset_class: AssetClass = AssetClass.CRYPTO,
) -> list[Addition]:
    """The instruments called ``names`` with their listings. Raises ValueError naming the first that ``venue`` lacks.

    Upper and lower case do not matter where only one name matches.
    """
    stocks = asset_class is AssetClass.STOCK
    pairs = [each.base if stocks else f"{each.base}-{each.quote}" for each in listings]
    known = {each.symbol: each for each in universe}
    added = []
    for text in names:
        instrument = _instrument(text, known, pairs, asset_class)
        listing = listed([instrument], venue, listings).get(instrument.symbol)
        if listing is None:
            raise ValueError(_refusal(text, venue, pairs))
        added.append(Addition(instrument, listing))
    return added


def unasked(
    names: Sequence[str], universe: Sequence[Instrument], asset_class: AssetClass = AssetClass.CRYPTO
) -> list[Addition]:
    """The instruments called ``names``, without asking a venue. Raises ValueError for a text that is no name."""
    known = {each.symbol: each for each in universe}
    return [Addition(_instrument(text, known, [], asset_class), None) for text in names]


def _instrument(
    text: str, universe: dict[str, Instrument], pairs: Sequence[str], asset_class: AssetClass
) -> Instrument:
    stock = asset_class is AssetClass.STOCK
    pair, at, venue = text.partition("@")
    if at and (plain := find_symbol(pair, [*universe, *pairs])) is not None:
        text = name_at(plain, venue)
    # a class of shares has several spellings: the universe's is the name, otherwise that with a dash
    symbol = find_symbol(text, universe) or find_symbol(text, pairs) or text
    symbol = symbol if symbol in universe or not stock else one_spelling(symbol)
    new = Instrument.stock if stock else Instrument.crypto
    return universe.get(symbol) or new(symbol)


def _refusal(text: str, venue: str, pairs: Sequence[str]) -> str:
    hint = did_you_mean(near_names(text, pairs))
    return f"{venue} does not list {text!r}: {hint + ' ' if hint else ''}--force adds it nevertheless"
