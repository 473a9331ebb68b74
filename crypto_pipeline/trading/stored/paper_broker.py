"""The paper account as a broker: what its ledger booked, in the words of the port.

The ledger itself decides what is filled, from bars that have closed. So nothing can be sent to it: its orders are those
of taken signals, whose ids follow from the signal as they do for every broker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from decimal import Decimal
from typing import Any

import polars as pl

from crypto_pipeline.labels.costs import OrderUse
from crypto_pipeline.store import Store
from crypto_pipeline.trading.brokers.client_ids import client_order_id
from crypto_pipeline.trading.brokers.port import (
    BrokerError,
    BrokerOrder,
    BrokerTraits,
    MarketRules,
    OrderRejected,
    OrderSide,
    VenueFill,
    VenueOrder,
    VenueState,
)
from crypto_pipeline.trading.brokers.registry import PAPER_BROKER
from crypto_pipeline.trading.stored.production import PAPER

#: Nothing is rounded on paper.
_EXACT = Decimal("1e-18")
_STATES: dict[str, VenueState] = {"placed": "open", "filled": "filled", "cancelled": "cancelled"}


class PaperBroker:
    """Reads the paper account of a store. Raises BrokerError, and StoreError."""

    name = PAPER_BROKER
    traits = BrokerTraits(stops=True, pairs=True, real_money=False, settle_seconds=0.0, refuses_doubles=True)

    def __init__(self, store: Store) -> None:
        self._store = store

    def rules(self, instrument: str) -> MarketRules:
        """Any quantity at any price."""
        base, _, quote = instrument.partition("@")[0].partition("-")
        return MarketRules(base, quote, _EXACT, _EXACT)

    def submit(self, order: BrokerOrder) -> VenueOrder:
        """The order of the ledger with this id. Raises OrderRejected for any other: the ledger makes its own."""
        there = self.find(order)
        if there is None:
            raise OrderRejected(f"the paper account places its orders itself, and has none called {order.client_id}")
        return there

    def cancel(self, order: BrokerOrder) -> None:
        """Not possible: what ends a position of the paper account follows from bars. Raises BrokerError."""
        raise BrokerError(f"the paper account ends its orders itself: {order.client_id} cannot be cancelled")

    def find(self, order: BrokerOrder) -> VenueOrder | None:
        """An order of a taken signal by its id, with its newest state."""
        return self._orders(order.instrument).get(order.client_id)

    def open_orders(self) -> Mapping[str, VenueOrder]:
        """Orders that rest: of grids, take profits and stops."""
        return {name: one for name, one in self._orders(None).items() if one.state == "open"}

    def fills(self, order: BrokerOrder) -> Sequence[VenueFill]:
        """The fill of an order, after slippage; none while it has none."""
        placed = self._rows(order.instrument).get(order.client_id)
        if placed is None:
            return []
        trade = (placed["strategy"], placed["instrument"], placed["signal_ts"])
        rows = self._store.trading.ledger.rows_of("fills", PAPER, [trade])
        undone = set(rows["reverses"].drop_nulls().to_list())
        rows = rows.filter(pl.col("reverses").is_null(), ~pl.col("number").is_in(list(undone)), use=placed["use"])
        # of a grid the first fill is that of its first order
        place = placed["order_number"] - 1 if placed["use"] == OrderUse.GRID.name else 0
        return [_fill(row, order.instrument) for row in rows.sort("number").slice(place, 1).iter_rows(named=True)]

    def balances(self) -> Mapping[str, Decimal]:
        """Cash, and what is held of each base asset."""
        postings = self._store.trading.ledger.read("postings", PAPER)
        held: dict[str, Decimal] = {}
        for row in postings.iter_rows(named=True):
            if row["account"] in ("cash", "position"):
                held[row["currency"]] = held.get(row["currency"], Decimal(0)) + row["amount"]
        return held

    def price(self, instrument: str) -> Decimal:
        """The last close that the account was marked at. Raises BrokerError where it holds nothing of it."""
        rows = self._store.trading.ledger.read("positions", PAPER, instruments=[instrument])
        marks = [mark for mark in rows["mark"].to_list() if mark is not None]
        if not marks:
            raise BrokerError(f"the paper account holds no {instrument}")
        return Decimal(str(marks[-1]))

    def close(self) -> None:
        """Nothing to close: the store is the caller's."""

    def _orders(self, instrument: str | None) -> dict[str, VenueOrder]:
        found: dict[str, VenueOrder] = {}
        for name, row in self._rows(instrument).items():
            state = _STATES[row["event"]]
            stops = state == "open" and row["use"] == OrderUse.STOP.name
            found[name] = VenueOrder(name, state, Decimal(0), name, stops, row["instrument"])
        return found

    def _rows(self, instrument: str | None) -> dict[str, dict[str, Any]]:
        """The newest row of each order, by its id."""
        names = None if instrument is None else [instrument]
        rows = self._store.trading.ledger.read("orders", PAPER, instruments=names)
        return {_id(row): row for row in rows.iter_rows(named=True)}


def _id(row: dict[str, Any]) -> str:
    use, number = OrderUse[row["use"]], row["order_number"]
    role = "entry" if use.buys else use.name.lower()
    return client_order_id(PAPER_BROKER, row["strategy"], row["instrument"], row["signal_ts"], role, number)


def _fill(row: dict[str, Any], instrument: str) -> VenueFill:
    quote = instrument.partition("@")[0].rpartition("-")[2]
    side: OrderSide = "buy" if row["units"] > 0 else "sell"
    name = f"{row['strategy']}:{row['signal_ts'].isoformat()}:{row['number']}"
    moment = row["moment"].astimezone(UTC)
    return VenueFill(name, side, row["price"], abs(row["units"]), row["fee"], quote, moment)
