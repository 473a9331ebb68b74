"""Which trades of stocks count in bars, by their condition codes.

The codes and what they update are those of Massive's reference ``/v3/reference/conditions`` (asset class stocks, trade
conditions, ``update_rules.consolidated``), which follows the plans of the US tapes: CTA's "Consolidated Tape System
participant specification" and UTP's "Data feed specification", tables of sale conditions. A bar is made of the trades
that update high and low; a trade that updates only the volume adds to an existing bar.
"""

from __future__ import annotations

from collections.abc import Iterable

#: Extended hours trades (Form T) update nothing on the tape; Massive's bars before and after the session are of them.
EXTENDED_HOURS = 12
#: Average price, cash sale, extended hours sold out of sequence, market center official close and open, next day,
#: price variation, seller, odd lot, corrected close, contingent and qualified contingent trades.
_NO_PRICE = frozenset({2, 7, 13, 15, 16, 20, 21, 29, 37, 38, 52, 53})
#: Bunched sold, derivatively priced, prior reference price, sold out of sequence: high and low, not open and close.
_NO_LAST = frozenset({5, 10, 22, 32, 33})
#: Market center official close and open, corrected consolidated close: repeated statements, no shares change hands.
_NO_VOLUME = frozenset({15, 16, 38})


def updates_price(conditions: Iterable[int]) -> bool:
    """Whether a trade with these conditions may be high or low of a bar, and so make one."""
    return _NO_PRICE.isdisjoint(conditions)


def updates_last(conditions: Iterable[int]) -> bool:
    """Whether a trade with these conditions may be open or close of a bar."""
    return updates_price(conditions) and _NO_LAST.isdisjoint(conditions)


def updates_volume(conditions: Iterable[int]) -> bool:
    """Whether the shares of a trade with these conditions count in the volume of a bar."""
    return _NO_VOLUME.isdisjoint(conditions)
