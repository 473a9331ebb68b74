"""Rows of frames. The same types encode what is sent and describe it in the AsyncAPI document.

Times are Unix milliseconds (UTC). Prices are in the quote asset, volumes in the base asset.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Moment = Annotated[int, Meta(description="Unix milliseconds, UTC.")]


class PriceRow(Struct, frozen=True):
    """The last price of an instrument that is collected. The key is ``instrument``."""

    instrument: str
    price: float
    time: Annotated[int, Meta(description="Time of the last trade; without trades the opening of its minute.")]
    trade_id: Annotated[int | None, Meta(description="The venue's id of the trade; null: the venue streams none.")]
    source: Annotated[str, Meta(description="Where the price came from.")]

    @property
    def key(self) -> str:
        """Rows with the same key replace one another."""
        return self.instrument


class StreamedBar(Struct, frozen=True):
    """A stored bar, as ``GET /bars`` gives it. The key is ``open_time``."""

    open_time: Moment
    open: float
    high: float
    low: float
    close: float
    volume: float
    trade_count: Annotated[int | None, Meta(description="Null: the venue does not state it.")]
    source: str
    complete: Annotated[bool, Meta(description="False: the source saw only a part of the window.")]

    @property
    def key(self) -> int:
        """Rows with the same key replace one another."""
        return self.open_time


class FormingBar(Struct, frozen=True):
    """The bar that is forming now. A channel has one: every row replaces the one before."""

    open_time: Moment
    open: float
    high: float
    low: float
    close: float
    volume: float
    trade_count: int | None
    price: Annotated[float, Meta(description="The last price.")]
    time: Annotated[int | None, Meta(description="Time of the last trade, in Unix milliseconds.")]
    source: Annotated[str, Meta(description="Always forming.")] = "forming"
    complete: Annotated[bool, Meta(description="Always false.")] = False

    @property
    def key(self) -> str:
        """Rows with the same key replace one another."""
        return "forming"


Row = PriceRow | StreamedBar | FormingBar
