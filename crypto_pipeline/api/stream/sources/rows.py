"""Rows of frames about the market. The same types encode what is sent and describe it in the AsyncAPI document.

Times are Unix milliseconds (UTC). Prices are in the quote asset, volumes in the base asset.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Moment = Annotated[int, Meta(description="Unix milliseconds, UTC.")]


class PriceRow(Struct, frozen=True, forbid_unknown_fields=True):
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


class StreamedBar(Struct, frozen=True, forbid_unknown_fields=True):
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


class FormingBar(Struct, frozen=True, forbid_unknown_fields=True):
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


class StreamedStep(Struct, frozen=True, forbid_unknown_fields=True):
    """One step of a forecast: prices at a close."""

    target: Annotated[int, Meta(description="The close that it is about, in Unix milliseconds.")]
    low_95: float
    low_80: float
    median: float
    high_80: float
    high_95: float


class StreamedForecast(Struct, frozen=True, forbid_unknown_fields=True):
    """The newest forecast of an instrument for a horizon, anchored to the price at which it was read. The key is
    ``horizon``."""

    horizon: Annotated[str, Meta(description="1h, 1d or 1w.")]
    moment: Annotated[int, Meta(description="Close of the newest bar that it rests on, in Unix milliseconds.")]
    model: Annotated[str, Meta(description="naive, drift or ets.")]
    direction: Annotated[str, Meta(description="UP, DOWN or HOLD.")]
    price: Annotated[float, Meta(description="What the steps are counted from.")]
    anchored_at: Annotated[int, Meta(description="When that was the price, in Unix milliseconds.")]
    steps: list[StreamedStep]

    @property
    def key(self) -> str:
        """Rows with the same key replace one another."""
        return self.horizon


class AlertRow(Struct, frozen=True, forbid_unknown_fields=True):
    """An alert. The key is ``id``. One that ended is sent once more, with ``resolved_at``."""

    id: int
    source: Annotated[str, Meta(description="The check, or the program, that opened it.")]
    timeframe: Annotated[str, Meta(description="Empty: it is about no timeframe.")]
    severity: Annotated[str, Meta(description="critical, error, warning or info.")]
    summary: str
    opened_at: Moment
    resolved_at: Annotated[int | None, Meta(description="Null: it is open.")]
    acknowledged_at: int | None
    acknowledged_by: str | None
    muted_until: int | None

    @property
    def key(self) -> int:
        """Rows with the same key replace one another."""
        return self.id
