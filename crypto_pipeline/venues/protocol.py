"""The interface of every venue: requests, answers, errors, and the facts that decide how an absent bar is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Literal, Protocol

import polars as pl

from crypto_pipeline.market.gaps.evidence import TradeProof
from crypto_pipeline.market.timeframes import Timeframe

#: Characters of an error's message, and of what is quoted of a body or a frame.
MAX_MESSAGE, MAX_QUOTED = 1_000, 200


def shorten(text: str, most: int = MAX_QUOTED) -> str:
    """``text`` of at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


class ListingStatus(StrEnum):
    """Whether an instrument can be traded at a venue now."""

    TRADING = "trading"
    PAUSED = "paused"
    DELISTED = "delisted"


@dataclass(frozen=True, slots=True)
class Listing:
    """One venue's own name and rules for an instrument.

    Attributes:
        venue_symbol: As the venue writes it.
        base: Asset that is traded.
        quote: Asset in which prices are.
        status: Whether it can be traded.
        tick_size: Prices are multiples of it, in the quote asset.
        lot_size: Amounts are multiples of it, in the base asset.
        listed: Open time of the first bar, UTC.
        delisted: When trading ended, UTC.
    """

    venue_symbol: str
    base: str
    quote: str
    status: ListingStatus
    tick_size: Decimal | None = None
    lot_size: Decimal | None = None
    listed: datetime | None = None
    delisted: datetime | None = None


@dataclass(frozen=True, slots=True)
class VenueStatus:
    """Whether the venue answers, and the state that it reports."""

    reachable: bool
    time: datetime | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class VenueTraits:
    """Facts about a venue's data that decide what an absent bar or trade id means."""

    timeframes: frozenset[Timeframe]
    #: A minute in which nothing traded is stated as a flat bar (Binance) rather than left out (Coinbase, Bitfinex).
    states_empty_bars: bool
    #: Trade ids of one symbol rise by exactly one, so a jump proves loss and its absence proves silence.
    contiguous_trade_ids: bool
    #: A bar is final this long after its end by venue time.
    settle_delay: timedelta = timedelta(seconds=3)
    #: How many of the newest bars of each timeframe the venue states; None: all of them.
    kept_bars: int | None = None


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """An invalid row of an answer. ``ms``: open time of the bar or time of the trade (Unix ms; None where it cannot be
    read). ``reason``: why it is invalid. ``said``: the row, cut to a line. ``trade_id``: of a trade, if readable."""

    ms: int | None
    reason: str
    said: str = ""
    trade_id: int | None = None

    @property
    def why(self) -> str:
        """The reason, with the quoted row."""
        return f"{self.reason} ({self.said})" if self.said else self.reason


def cannot_be(said: str) -> str:
    """The rest of a sentence about a venue that stated something invalid."""
    return f"states something that cannot be: {said}"


@dataclass(frozen=True, slots=True)
class BarsAnswer:
    """A venue's answer about ``[start, end)``: every bar that it has there.

    A minute without a row is a minute it did not state, or of which it stated something that cannot be: those rows are
    in ``refused``.
    ``bars`` follows BAR_SCHEMA, sorted by open time, final bars only (no forming bar), all inside the span.
    """

    instrument: str
    timeframe: Timeframe
    start: datetime
    end: datetime
    bars: pl.DataFrame
    stated_at: datetime
    origin: Literal["rest", "archive"]
    refused: tuple[RejectedRow, ...] = ()


@dataclass(frozen=True, slots=True)
class TradesAnswer(TradeProof):
    """Trades of ``[start, end)`` of one instrument, with the ids on either side where the venue states them.

    ``id_before`` is the last trade id before ``start`` and ``id_after`` the first at or after ``end``; None when there
    is none or the venue cannot say. Ids contiguous from ``id_before`` over the rows to ``id_after`` prove that nothing
    is missing. Of a venue that states aggregates, ``single_before`` and ``single_after`` are the individual trades
    next to the span: the last one that ``id_before`` sums, the first one that ``id_after`` sums. Trades that cannot be
    are in ``refused``; their ids are missing from ``trades``.
    """

    refused: tuple[RejectedRow, ...] = ()
    instrument: str = field(kw_only=True)


class VenueError(Exception):
    """A venue could not answer. ``permanent`` errors are not worth repeating.

    A message is cut: it may quote what a venue sent, and that may be megabytes.
    """

    permanent = False

    def __init__(self, message: str, *, permanent: bool | None = None) -> None:
        super().__init__(shorten(message, MAX_MESSAGE))
        if permanent is not None:
            self.permanent = permanent


class UnknownSymbol(VenueError):  # noqa: N818  (reads as the fact it states)
    """The venue does not list the symbol."""

    permanent = True


class VenueUnavailable(VenueError):  # noqa: N818
    """The venue is down, banned us, or its breaker is open. ``retry_after`` in seconds where known."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class MalformedAnswer(VenueError):  # noqa: N818
    """The body was truncated or is not what the protocol promises. It says where."""


class TruncatedBody(MalformedAnswer):
    """The transfer broke off: the body is incomplete."""


@dataclass(frozen=True, slots=True)
class BudgetLimit:
    """A request-weight limit: at most ``limit`` in each fixed window of ``window`` seconds of venue time."""

    limit: int
    window: float = 60.0
    share: float = 0.9


class RequestBudget(Protocol):
    """The request weight of one venue, shared by many processes."""

    async def acquire(self, weight: int) -> None:
        """Wait until ``weight`` may be spent, then book it."""

    async def report(self, used: int) -> None:
        """Take over the weight that the venue's header states for the current window."""

    async def limit(self, limit: BudgetLimit) -> None:
        """Take over the limit that the venue states."""

    async def pause(self, seconds: float) -> None:
        """No requests from any process for this long (429 and 418 with Retry-After)."""


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What to fetch of one instrument: half-open spans in one timeframe."""

    instrument: str
    venue_symbol: str
    timeframe: Timeframe
    spans: list[tuple[datetime, datetime]] = field(default_factory=list)


class Venue(Protocol):
    """One venue. Every method may raise VenueError. Instruments are passed as (canonical name, venue symbol)."""

    name: str
    traits: VenueTraits

    async def listings(self) -> list[Listing]:
        """Every instrument the venue has or had, as far as it says."""

    async def listed_since(self, venue_symbol: str) -> datetime | None:
        """Open time of the first bar the venue ever had of the symbol; None when it has none."""

    async def first_bars(self, venue_symbol: str) -> dict[Timeframe, datetime]:
        """Open time of the first bar the venue ever had of the symbol, by timeframe, where that differs from what
        follows from ``listed_since``, or may: a venue may keep wider bars for longer. Empty: all begin together."""

    async def last_bar(self, venue_symbol: str) -> datetime | None:
        """Open time of the newest bar the venue has of the symbol, forming or not; None when it has none."""

    async def server_time(self) -> datetime:
        """The venue's clock, UTC."""

    async def status(self) -> VenueStatus:
        """Never raises: an unreachable venue is an answer."""

    def bars(self, plan: FetchPlan, *, archive: bool = True) -> AsyncIterator[BarsAnswer]:
        """Fetch the plan's spans. Answers come in time order within a span, together cover all of it up to what is
        settled by the venue's clock, and never overlap. ``archive=False`` uses only the REST interface."""

    def bars_many(
        self,
        plans: list[FetchPlan],
        *,
        archive: bool = True,
        on_error: Callable[[FetchPlan, VenueError], None] | None = None,
    ) -> AsyncIterator[BarsAnswer]:
        """As ``bars`` for many plans, fetched concurrently. Answers of one plan come in time order; those of several
        interleave. With ``on_error`` a plan that fails is reported there and the others go on. Of a plan with a page
        that cannot be read (MalformedAnswer) that page's span is reported, as a plan of its own, and its other pages
        are fetched all the same."""

    async def trades(self, instrument: str, venue_symbol: str, start: datetime, end: datetime) -> TradesAnswer:
        """All trades of ``[start, end)``, paged by id."""

    async def close(self) -> None:
        """Close connections."""
