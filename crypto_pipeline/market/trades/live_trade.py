"""A trade as a stream gives it: what venues yield, ingest aggregates and the store keeps."""

from __future__ import annotations

import msgspec


class LiveTrade(msgspec.Struct, frozen=True, gc=False):
    """A trade or aggregate trade. ``trade_id`` is the id by which REST knows it; ``first_id..last_id`` what it sums.

    ``instrument`` is the canonical name, ``time_ms`` Unix milliseconds UTC by the venue's clock, ``price`` in the quote
    asset, ``quantity`` in the base asset.
    """

    instrument: str
    trade_id: int
    first_id: int
    last_id: int
    time_ms: int
    price: float
    quantity: float
    taker_buy: bool
