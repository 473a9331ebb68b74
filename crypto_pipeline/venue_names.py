"""The names of the venues, for settings, which import no venue: those of ``venues/names.txt``, ``ccxt_NAME``, and those
that installed packages add.

``ccxt_bitstamp`` is the exchange ``bitstamp`` of the package ccxt. Its files are looked for and not imported: an import
takes seconds.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from crypto_pipeline.market.near_names import did_you_mean, near_names

#: Begin of the names of venues that are exchanges of ccxt.
CCXT = "ccxt_"
#: Group of entry points by which an installed package adds venues: NAME = "module:ENTRY", a ``VenueEntry``.
OWN_VENUES = "crypto_pipeline.venues"
#: What installs ccxt.
CCXT_EXTRA = "pip install 'crypto-pipeline[ccxt]'"

#: The streams of an exchange of ccxt that are read; without candles, bars are made of its trades.
_STREAMS = frozenset({"watchOHLCV", "watchTrades"})


@lru_cache
def _marks() -> dict[str, list[str]]:
    """The venues by name, with what is said of each."""
    lines = (Path(__file__).parent / "venues/names.txt").read_text(encoding="utf-8").splitlines()
    names = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return {name: marks for name, *marks in names}


@lru_cache
def venue_names(*, first: bool = False) -> tuple[str, ...]:
    """Names of the venues; with ``first`` those that can be the first one, not only stand in for another.

    Exchanges of ccxt are not among them.
    """
    return tuple(name for name, marks in _marks().items() if not (first and "standby" in marks))


@lru_cache
def own_venues() -> dict[str, EntryPoint]:
    """The venues that installed packages add, by name; nothing is imported."""
    return {point.name: point for point in entry_points(group=OWN_VENUES) if point.name not in _marks()}


@lru_cache
def ccxt_exchanges() -> tuple[str, ...]:
    """Names of the exchanges of ccxt, without the begin; empty where ccxt is not installed."""
    package = find_spec("ccxt")
    if package is None or not package.submodule_search_locations:
        return ()
    files = Path(package.submodule_search_locations[0], "async_support").glob("*.py")
    return tuple(sorted(file.stem for file in files if not file.stem.startswith("_")))


def ccxt_exchange(venue: str) -> str | None:
    """ccxt's name of the exchange that a venue is; None for a venue that is not reached through ccxt."""
    return venue.removeprefix(CCXT) if venue.startswith(CCXT) else None


def refuse_unknown_venue(venue: str, *, first: bool = False) -> None:
    """Raise ValueError in one line with the fix where there is no such venue; ``first`` as in ``venue_names``."""
    names = venue_names(first=first)
    exchange = ccxt_exchange(venue)
    if venue in names or (exchange and exchange in ccxt_exchanges()):
        return
    if venue in own_venues():
        return
    if exchange is None:
        choice = f"use one of {', '.join([*names, *own_venues()])}, or {CCXT}NAME for an exchange of ccxt"
        near = near_names(venue, [*names, *own_venues(), *(f"{CCXT}{each}" for each in ccxt_exchanges())])
        if venue in ccxt_exchanges():
            near = [f"{CCXT}{venue}"]
        raise ValueError(f"{venue!r} is not a venue: {f'{did_you_mean(near)} Otherwise ' if near else ''}{choice}")
    if not ccxt_exchanges():
        raise ValueError(f"the venue {venue} needs the package ccxt: {CCXT_EXTRA}")
    near = [f"{CCXT}{each}" for each in near_names(exchange, ccxt_exchanges())]
    hint = did_you_mean(near) or "https://github.com/ccxt/ccxt#supported-exchanges lists them"
    raise ValueError(f"{venue!r} is not a venue, ccxt has no exchange {exchange!r}: {hint}")


def has_stream(venue: str) -> bool:
    """Whether live bars can be made of the venue's stream; otherwise its bars come by REST alone."""
    exchange = ccxt_exchange(venue)
    if exchange is not None:
        return "watchTrades" in streams_of_ccxt(exchange)
    if venue not in _marks() and venue in own_venues():
        return own_venues()[venue].load().stream is not None
    return "rest" not in _marks().get(venue, ("rest",))


@lru_cache
def streams_of_ccxt(exchange: str) -> frozenset[str]:
    """What ccxt.pro's file of an exchange, or of the one that it is made from, says that it watches: of ``watchOHLCV``
    and ``watchTrades``.
    """
    package = find_spec("ccxt")
    if package is None or not package.submodule_search_locations:
        return frozenset()
    file = Path(package.submodule_search_locations[0], "pro", f"{exchange}.py")
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    base = re.search(r"^from ccxt\.pro\.(\w+) import", text, re.MULTILINE)
    inherited = streams_of_ccxt(base[1]) if base else frozenset()
    return frozenset(
        what for what in _STREAMS if f"'{what}': True" in text or (what in inherited and f"'{what}': " not in text)
    )
