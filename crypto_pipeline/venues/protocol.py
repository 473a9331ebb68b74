"""The interface of every venue: requests, answers, errors, and facts that decide what an absent bar means."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

import polars as pl

from crypto_pipeline.market.corporate_actions.actions import ActionKind, CorporateAction
from crypto_pipeline.market.gaps.evidence import TradeProof
from crypto_pipeline.market.instruments import AssetClass
from crypto_pipeline.market.timeframes import Timeframe

#: Greatest length in characters of an error's message, and of a quoted body or frame.
MAX_MESSAGE, MAX_QUOTED = 1_000, 200


def shorten(text: str, most: int = MAX_QUOTED) -> str:
    """``text`` cut to at most ``most`` characters."""
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
    #: Whether a minute without trades has a flat bar (Binance) or no bar (Coinbase, Bitfinex).
    states_empty_bars: bool
    #: Whether trade ids of a symbol rise by exactly one, so that a jump proves missing trades and no jump proves none.
    contiguous_trade_ids: bool
    #: Whether a bar that it leaves out, between bars that it states, says that nothing was traded. If not, only trades
    #: say so, and its answers for trades lack none.
    absence_is_silence: bool = True
    #: Time after a bar's end, by the venue's clock, from which the bar is final.
    settle_delay: timedelta = timedelta(seconds=3)
    #: Number of newest bars per timeframe that the venue returns; None: all of them.
    kept_bars: int | None = None
    #: How much later than it happened everything is stated, by the plan that was chosen.
    delay: timedelta = timedelta(0)
    #: Requests a minute that a key allows; None: the address counts, and allows many.
    requests_per_minute: int | None = None
    #: The kind of instruments that it has.
    asset_class: AssetClass = AssetClass.CRYPTO
    #: Timeframes in which its own bars equal what is rolled up from its minutes; None: all that it has.
    compared: frozenset[Timeframe] | None = None


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """An invalid row of an answer. ``ms``: open time of the bar or time of the trade (Unix ms; None if unreadable).
    ``reason``: why it is invalid. ``said``: the row, cut to a line. ``trade_id``: the id of a trade, if readable."""

    ms: int | None
    reason: str
    said: str = ""
    trade_id: int | None = None

    @property
    def why(self) -> str:
        """The reason, with the quoted row."""
        return f"{self.reason} ({self.said})" if self.said else self.reason


def invalid_data(reason: str) -> str:
    """The rest of a sentence whose subject is a venue that sent invalid data."""
    return f"sent invalid data: {reason}"


@dataclass(frozen=True, slots=True)
class BarsAnswer:
    """A venue's answer for ``[start, end)`` (UTC): all bars that it has there.

    ``bars`` has BAR_SCHEMA, sorted by open time, only final bars (no forming bar), all inside the span. If a time
    has no row in ``bars``, the venue sent none, or an invalid one, which is in ``refused``.
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


@dataclass(frozen=True, slots=True)
class CorporateActionsAnswer:
    """What a venue stated at ``seen_at`` of an instrument's corporate actions; rows that cannot be are ``refused``.

    ``whole``: kinds of which ``actions`` has all that the venue states.
    """

    instrument: str
    actions: tuple[CorporateAction, ...]
    seen_at: datetime
    whole: tuple[ActionKind, ...] = ()
    refused: tuple[RejectedRow, ...] = ()


class VenueError(Exception):
    """A venue did not answer, or not usefully. A request with a ``permanent`` error is not repeated.

    Long messages are cut, because a message may quote megabytes of a venue's answer.
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
    """The venue is down or banned us, or its breaker is open. ``retry_after`` is in seconds, None if unknown."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class MalformedAnswer(VenueError):  # noqa: N818
    """The body is truncated or violates the protocol. The message names the place."""


class TruncatedBody(MalformedAnswer):
    """The transfer ended early: the body is incomplete."""


class SpanRefused(MalformedAnswer):
    """The venue refuses to answer for one span of a plan, for example because it is too long ago."""

    permanent = True


@dataclass(frozen=True, slots=True)
class BudgetLimit:
    """A request-weight limit: at most ``limit`` in each fixed window of ``window`` seconds of venue time."""

    limit: int
    window: float = 60.0
    share: float = 0.9


class RequestBudget(Protocol):
    """The request budget of one venue, which several processes may share."""

    async def acquire(self, weight: int) -> None:
        """Wait until ``weight`` may be spent, then book it."""

    async def report(self, used: int) -> None:
        """Take over the weight that the venue's header states for the current window."""

    async def limit(self, limit: BudgetLimit) -> None:
        """Take over the limit that the venue states."""

    async def pause(self, seconds: float) -> None:
        """Stop the requests of all processes for ``seconds`` (429 and 418 with Retry-After)."""


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What to fetch for one instrument: spans [start, end) (UTC) of one timeframe."""

    instrument: str
    venue_symbol: str
    timeframe: Timeframe
    spans: list[tuple[datetime, datetime]] = field(default_factory=list)


class Venue(Protocol):
    """One venue. All methods except ``status`` may raise VenueError. Times are UTC."""

    name: str
    traits: VenueTraits

    async def listings(self) -> list[Listing]:
        """All instruments that the venue lists, including delisted ones that it still reports."""

    async def listed_since(self, venue_symbol: str) -> datetime | None:
        """Open time of the symbol's first bar ever; None if there is none."""

    async def first_bars(self, venue_symbol: str) -> dict[Timeframe, datetime]:
        """Open time of the symbol's first bar by timeframe, if these may differ: a venue may keep wider bars for
        longer. Empty: all timeframes begin at ``listed_since``.
        """

    async def last_bar(self, venue_symbol: str) -> datetime | None:
        """Open time of the symbol's newest bar, forming or not; None if there is none."""

    async def server_time(self) -> datetime:
        """The venue's clock, UTC."""

    async def status(self) -> VenueStatus:
        """Whether the venue answers. An unreachable venue is a result, not an error."""

    def bars(self, plan: FetchPlan, *, archive: bool = True) -> AsyncIterator[BarsAnswer]:
        """Fetch the plan's spans. The answers of a span come in time order without overlap, and cover it up to the last
        final bar by the venue's clock. ``archive=False`` uses only the REST interface."""

    def bars_many(
        self,
        plans: list[FetchPlan],
        *,
        archive: bool = True,
        on_error: Callable[[FetchPlan, VenueError], None] | None = None,
    ) -> AsyncIterator[BarsAnswer]:
        """Fetch many plans concurrently, as ``bars`` does. Answers of one plan come in time order; those of several
        plans interleave. With ``on_error``, a failed plan is reported there and the others continue. If a page is
        unreadable (MalformedAnswer), only its span is reported, as a separate plan, and the plan's other pages are
        fetched.
        """

    async def trades(self, instrument: str, venue_symbol: str, start: datetime, end: datetime) -> TradesAnswer:
        """All trades of ``[start, end)``, paged by id.

        Of a venue without ``absence_is_silence`` all of the part of it that the answer names.
        """

    async def close(self) -> None:
        """Close connections."""


@runtime_checkable
class StatesFormerListings(Protocol):
    """A venue whose list has only what is traded; what no longer is must be asked for by name."""

    async def former_listings(self, names: Sequence[str]) -> list[Listing]:
        """The listings of instruments with these names (without a venue) that are no longer traded. Raises
        VenueError.
        """


@runtime_checkable
class StatesCorporateActions(Protocol):
    """A venue that states splits, dividends and renames."""

    async def corporate_actions(self, instrument: str, venue_symbol: str) -> CorporateActionsAnswer:
        """All that the venue states of the instrument. Raises VenueError."""
