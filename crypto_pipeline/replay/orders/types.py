"""Orders, executions and events of an account at the replay exchange. Prices and quantities are exact decimals."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

Side = Literal["BUY", "SELL"]
OrderType = Literal[
    "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"
]
TimeInForce = Literal["GTC", "IOC", "FOK"]
OrderStatus = Literal["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED"]

ZERO = Decimal(0)
STOPS: frozenset[OrderType] = frozenset({"STOP_LOSS", "STOP_LOSS_LIMIT"})
TAKES: frozenset[OrderType] = frozenset({"TAKE_PROFIT", "TAKE_PROFIT_LIMIT"})
#: Types that wait for a price before they are orders at all.
TRIGGERED = STOPS | TAKES
#: Types whose price is a limit, once they are in the book.
LIMITED: frozenset[OrderType] = frozenset({"LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"})
OPEN: frozenset[OrderStatus] = frozenset({"NEW", "PARTIALLY_FILLED"})


class OrderRefused(Exception):  # noqa: N818  (reads as the fact it states)
    """The exchange does not take the order or the cancellation; ``code`` and ``message`` are Binance's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True, slots=True)
class OrderRules:
    """What the exchange demands of orders of a symbol. ``tick`` and ``step`` are the units of prices and quantities."""

    symbol: str
    base: str
    quote: str
    tick: Decimal
    step: Decimal
    min_notional: Decimal = Decimal(5)


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """An order as it was asked for. ``price`` is its limit, ``stop_price`` what it waits for; 0 where it has none."""

    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    price: Decimal = ZERO
    stop_price: Decimal = ZERO
    time_in_force: TimeInForce = "GTC"
    client_id: str = ""


@dataclass(slots=True)
class BookedOrder:
    """An order that the exchange has taken. Times in Unix ms.

    Attributes:
        triggered: Whether its stop price was reached; True from the start for types that wait for none.
        list_id: The list that it belongs to, -1 without one.
        locked: What of the balance it holds: base for a sale, quote for a purchase.
        rest_due_ms: When the rest of an immediate execution comes; None if none is due.
    """

    order_id: int
    request: OrderRequest
    client_id: str
    time_ms: int
    update_ms: int
    status: OrderStatus = "NEW"
    filled: Decimal = ZERO
    filled_quote: Decimal = ZERO
    triggered: bool = True
    list_id: int = -1
    locked: Decimal = ZERO
    rest_due_ms: int | None = None

    @property
    def remaining(self) -> Decimal:
        """Quantity that is not filled."""
        return self.request.quantity - self.filled

    @property
    def is_open(self) -> bool:
        """Whether it may still be filled."""
        return self.status in OPEN


@dataclass(frozen=True, slots=True)
class Execution:
    """A fill. The commission is in the asset that was received, as Binance takes it."""

    trade_id: int
    order_id: int
    client_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    commission: Decimal
    commission_asset: str
    time_ms: int
    is_maker: bool

    @property
    def quote(self) -> Decimal:
        """What was paid or received before commission."""
        return self.price * self.quantity


@dataclass(slots=True)
class OrderPair:
    """A list of two orders of which one cancels the other (OCO)."""

    list_id: int
    client_id: str
    symbol: str
    orders: tuple[int, int]
    time_ms: int
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """What happened to an order: ``NEW``, ``TRADE``, ``CANCELED`` or ``EXPIRED``, as the user data stream tells it.

    ``order`` is the order as it stood then.
    """

    kind: Literal["NEW", "TRADE", "CANCELED", "EXPIRED"]
    order: BookedOrder
    time_ms: int
    execution: Execution | None = None


@dataclass(slots=True)
class Balance:
    """One asset of an account. ``free`` may be used, ``locked`` is held by open orders."""

    free: Decimal = ZERO
    locked: Decimal = ZERO


@dataclass(slots=True)
class Wallet:
    """The balances of an account."""

    assets: dict[str, Balance] = field(default_factory=dict)

    def of(self, asset: str) -> Balance:
        """The balance of an asset, which begins at nothing."""
        return self.assets.setdefault(asset, Balance())

    def lock(self, asset: str, amount: Decimal) -> None:
        """Hold an amount for an order. Raises OrderRefused where less is free."""
        balance = self.of(asset)
        if amount > balance.free:
            raise OrderRefused(-2010, "Account has insufficient balance for requested action.")
        balance.free -= amount
        balance.locked += amount

    def unlock(self, asset: str, amount: Decimal) -> None:
        """Give back what an order held."""
        balance = self.of(asset)
        balance.locked -= amount
        balance.free += amount
