"""The interface of every venue's streams, and the events that they yield.

All times are the venue's, in Unix milliseconds UTC. Instruments have their canonical names. Events are msgspec structs
that the garbage collector does not track, because thousands are made each second.
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
    """The venue's own bar. Values that the venue does not state are None; so are the ids if nothing traded."""

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
    """The venue's newest trade id (from a heartbeat, or the last trade before the subscription). It is not stored.

    Without an id: trades of the instrument from before ``time_ms`` may be missing, and later ones come.
    """

    instrument: str
    last_trade_id: int | None
    time_ms: int | None


class Alive(msgspec.Struct, frozen=True, gc=False):
    """A message that only shows that the connection works: a heartbeat, ping or pong."""

    time_ms: int | None = None


NoticeKind = Literal["subscribed", "refused", "shutdown", "status", "unknown"]


class Notice(msgspec.Struct, frozen=True, gc=False):
    """A message about the stream itself.

    ``shutdown``: the venue will close the connection, so open a replacement first. ``refused``: the venue refused a
    subscription (of one instrument, or of all if it is None). ``unknown``: an ignored frame, or an invalid row.
    """

    kind: NoticeKind
    text: str = ""
    instrument: str | None = None
    #: an invalid trade or bar of ``instrument``
    refused: RejectedRow | None = None
    #: timeframe of the bar in ``refused``; empty for a trade
    timeframe: str = ""
    #: whether that bar has ended
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

    #: Whether trade ids of an instrument rise by exactly one.
    contiguous_ids: bool
    #: Whether the venue streams 1m bars.
    states_bars: bool
    #: Seconds without any message, ping or pong after which a connection counts as broken.
    silence_limit_s: float
    #: Greatest number of instruments on one connection.
    max_per_connection: int
    #: Age (seconds) at which a connection is replaced, before the venue ends it; venues with a limit do so after a day.
    max_age_s: float = 23.5 * 3600
    #: Whether the venue allows one connection at a time to a key: a replacement is opened once the old one is closed.
    single_connection: bool = False
    #: Seconds without a bar or trade, while everything is traded, after which a stream without ids is opened again.
    quiet_limit_s: float = 150.0


class StreamClosed(VenueUnavailable):
    """The connection ended: by the venue, by the network, or after silence."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason, retry_after=retry_after)
        self.reason = str(self)


class StreamRefused(VenueUnavailable):
    """The venue refused the connection. ``retry_after`` is in seconds, None if not stated."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text, retry_after=retry_after)
        self.text = str(self)


class LastingRefusal(StreamRefused):
    """The venue refuses until a person changes something, which the text names. ``retry_after`` is far away."""

    def __init__(self, text: str, retry_after: float = 300.0) -> None:
        super().__init__(text, retry_after)


class StreamConnection(Protocol):
    """One subscribed websocket."""

    @property
    def counters(self) -> dict[str, int]:
        """Numbers of received frames, trades, bars, unknown (ignored) and malformed messages, and new fields."""

    def events(self) -> AsyncIterator[list[Event]]:
        """One list of events per frame. A malformed frame is counted and becomes a Notice. Raises StreamClosed or
        StreamRefused when the connection ends; ends without error after ``close``."""

    async def close(self) -> None:
        """End the connection; safe to call twice."""


class StreamingVenue(Protocol):
    """The streams of one venue."""

    name: str
    stream_traits: StreamTraits

    def spread(self, plan: StreamPlan) -> list[StreamPlan]:
        """Cut a plan into one plan per connection."""

    async def connect(self, plan: StreamPlan) -> StreamConnection:
        """Open a connection and subscribe. Raises StreamRefused."""

    async def close(self) -> None:
        """Close all connections and shared resources."""


def spread_evenly(plan: StreamPlan, most: int) -> list[StreamPlan]:
    """Cut a plan into as few plans as possible, of nearly equal size and at most ``most`` instruments."""
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
