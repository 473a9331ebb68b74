"""The interface of every venue's streams, and the events that they yield.

All times are the venue's, Unix milliseconds UTC; instruments go by their canonical name. Events are msgspec structs
without garbage-collector tracking: thousands are made a second.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec
import polars as pl

from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.venues.protocol import RejectedRow, VenueUnavailable
from crypto_pipeline.venues.trade_rows import trade_frame


class LiveBar(msgspec.Struct, frozen=True, gc=False):
    """The venue's own bar. None where the venue does not state it; ids are None too where nothing traded."""

    instrument: str
    timeframe: str
    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float | None
    taker_buy_volume: float | None
    trade_count: int | None
    first_id: int | None
    last_id: int | None
    closed: bool
    event_ms: int


class Anchor(msgspec.Struct, frozen=True, gc=False):
    """The newest trade id that the venue knows of (heartbeat, last trade before subscribing). Nothing to store."""

    instrument: str
    last_trade_id: int | None
    time_ms: int | None


class Alive(msgspec.Struct, frozen=True, gc=False):
    """Proves that the connection is alive, and states nothing else: a heartbeat, a ping, a pong."""

    time_ms: int | None = None


NoticeKind = Literal["subscribed", "refused", "shutdown", "status", "unknown"]


class Notice(msgspec.Struct, frozen=True, gc=False):
    """A message about the stream itself.

    ``shutdown`` asks to open a replacement first; ``refused`` is a subscription that was not granted (of one
    instrument, or of all when None); ``unknown`` is a frame that was counted and passed over, or a row that is not
    believed.
    """

    kind: NoticeKind
    text: str = ""
    instrument: str | None = None
    #: a trade or bar of ``instrument`` that cannot be
    refused: RejectedRow | None = None
    #: of the bar that ``refused`` tells of; empty: it is a trade
    timeframe: str = ""
    #: that bar is over
    over: bool = False


Event = LiveTrade | LiveBar | Anchor | Alive | Notice


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What to subscribe to: (canonical name, venue symbol) of each instrument."""

    instruments: list[tuple[str, str]] = field(default_factory=list)
    trades: bool = True
    bars: bool = True


@dataclass(frozen=True, slots=True)
class StreamTraits:
    """Facts about a venue's stream."""

    #: Trade ids of one instrument rise by exactly one.
    contiguous_ids: bool
    #: The venue streams minute bars of its own.
    states_bars: bool
    #: Seconds without any message, ping or pong after which a connection is dead.
    silence_limit_s: float
    #: Instruments on one connection.
    max_per_connection: int
    #: A connection is replaced at this age (seconds), before the venue ends it: those that say when do so after a day.
    max_age_s: float = 23.5 * 3600


class StreamClosed(VenueUnavailable):
    """The connection ended: by the venue, by the network, or after silence."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason, retry_after=retry_after)
        self.reason = str(self)


class StreamRefused(VenueUnavailable):
    """The venue did not let us connect. ``retry_after`` in seconds where it says so."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text, retry_after=retry_after)
        self.text = str(self)


class StreamConnection(Protocol):
    """One websocket, subscribed."""

    @property
    def counters(self) -> dict[str, int]:
        """What came: frames, trades, bars, unknown (passed over), malformed, fields (new ones, by sample)."""

    def events(self) -> AsyncIterator[list[Event]]:
        """One list for each frame, until it raises StreamClosed (or StreamRefused). A malformed frame is counted and
        becomes a Notice. Ends without error after ``close``."""

    async def close(self) -> None:
        """End the connection; safe to call twice."""


class StreamingVenue(Protocol):
    """The streams of one venue."""

    name: str
    stream_traits: StreamTraits

    def spread(self, plan: StreamPlan) -> list[StreamPlan]:
        """Cut a plan into one plan a connection."""

    async def connect(self, plan: StreamPlan) -> StreamConnection:
        """Open a connection and subscribe. Raises StreamRefused."""

    async def close(self) -> None:
        """Release what connections share. Connections that are still open end."""


def spread_evenly(plan: StreamPlan, most: int) -> list[StreamPlan]:
    """As few plans as ``most`` instruments each allows, of nearly equal size."""
    count = -(-len(plan.instruments) // most)
    return [StreamPlan(plan.instruments[place::count], plan.trades, plan.bars) for place in range(count)]


def frame_of_live_trades(trades: Sequence[LiveTrade]) -> pl.DataFrame:
    """TRADE_SCHEMA frame of live trades, in the order given."""
    return trade_frame(
        [trade.instrument for trade in trades],
        [trade.trade_id for trade in trades],
        [trade.time_ms for trade in trades],
        [trade.price for trade in trades],
        [trade.quantity for trade in trades],
        [trade.taker_buy for trade in trades],
        first_ids=[trade.first_id for trade in trades],
        last_ids=[trade.last_id for trade in trades],
    )
