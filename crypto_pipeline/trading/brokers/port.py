"""The port: what a broker must be able to do. Adapters translate it; nothing above them knows a venue's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal, Protocol

OrderKind = Literal["market", "limit", "protection"]
OrderSide = Literal["buy", "sell"]
VenueState = Literal["open", "filled", "cancelled", "expired", "rejected"]


class BrokerError(Exception):
    """A broker cannot be used as asked; the message is one line."""


class OrderRejected(BrokerError):  # noqa: N818  (reads as the fact it states)
    """The venue refused, and nothing was booked."""


class OrderNotSent(BrokerError):  # noqa: N818  (reads as the fact it states)
    """The order certainly did not reach the venue's books; it may be sent again."""


class OrderUnanswered(BrokerError):  # noqa: N818  (reads as the fact it states)
    """The venue may have booked it or not: it is to be asked."""


@dataclass(frozen=True, slots=True)
class BrokerOrder:
    """An order for a venue. Quantities in the base asset, prices in the quote asset.

    ``protection`` sells at the market once the price falls to ``stop_price``; with ``price`` a take profit rests beside
    it, and the first of the two ends the other. ``claimed_at`` (Unix seconds): when it was claimed for sending. The
    venue is told that moment where it takes one, so that what a paused process sends much later is refused.
    ``queued_at`` (Unix seconds): when it was stored; at the venue it is not older.
    """

    client_id: str
    instrument: str
    side: OrderSide
    kind: OrderKind
    quantity: Decimal
    price: Decimal | None = None
    stop_price: Decimal | None = None
    venue_id: str | None = None
    claimed_at: float | None = None
    queued_at: float = 0.0


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """What a venue says of an order. ``stop_rests``: of a protection, whether its stop still waits."""

    client_id: str
    state: VenueState
    filled: Decimal
    venue_id: str
    stop_rests: bool = False
    instrument: str = ""


@dataclass(frozen=True, slots=True)
class VenueFill:
    """A fill as the venue states it; ``fill_id`` is unique within an instrument."""

    fill_id: str
    side: OrderSide
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_asset: str
    time: datetime


@dataclass(frozen=True, slots=True)
class MarketRules:
    """What a venue demands of orders of an instrument."""

    base: str
    quote: str
    tick: Decimal
    step: Decimal
    min_quantity: Decimal = Decimal(0)
    min_notional: Decimal = Decimal(0)

    def floor_quantity(self, quantity: Decimal) -> Decimal:
        """The greatest quantity that may be ordered and is not above."""
        return quantity // self.step * self.step

    def round_price(self, price: Decimal) -> Decimal:
        """The nearest price that may be ordered."""
        return (price / self.tick).quantize(Decimal(1), ROUND_HALF_EVEN) * self.tick

    def can_sell(self, quantity: Decimal, price: Decimal) -> bool:
        """Whether that much may be sold at about this price."""
        return quantity >= max(self.step, self.min_quantity) and quantity * price >= self.min_notional


@dataclass(frozen=True, slots=True)
class BrokerTraits:
    """What a broker can do.

    Attributes:
        stops: A stop rests at the venue, so a position stays protected while nobody is here.
        pairs: A stop and a take profit rest together, and one ends the other.
        real_money: Its orders cost money: it needs the opt-in of a person.
        settle_seconds: So long after an unanswered attempt the order may still reach the venue's books.
        refuses_doubles: The venue refuses an order whose client id is that of a resting one, so a resting order may be
            repeated without waiting that long.
    """

    stops: bool
    pairs: bool
    real_money: bool
    settle_seconds: float = 2.0
    refuses_doubles: bool = False


class Broker(Protocol):
    """A broker. Every method raises BrokerError, ``submit`` one of its three kinds, which say what is known."""

    name: str
    traits: BrokerTraits

    def rules(self, instrument: str) -> MarketRules:
        """What the venue demands of orders of this instrument."""

    def submit(self, order: BrokerOrder) -> VenueOrder:
        """Send an order."""

    def cancel(self, order: BrokerOrder) -> None:
        """Cancel an order. One that has ended already is no error: the venue is asked afterwards anyway."""

    def find(self, order: BrokerOrder) -> VenueOrder | None:
        """What the venue knows of an order by its client's id; None where it knows nothing of it."""

    def open_orders(self) -> Mapping[str, VenueOrder]:
        """All open orders of the account whose client id begins as ours do, by that id; pairs as one."""

    def fills(self, order: BrokerOrder) -> Sequence[VenueFill]:
        """All fills of an order."""

    def balances(self) -> Mapping[str, Decimal]:
        """The amount of each asset of the account, free and held by orders together."""

    def price(self, instrument: str) -> Decimal:
        """The last traded price."""

    def close(self) -> None:
        """Close connections."""
