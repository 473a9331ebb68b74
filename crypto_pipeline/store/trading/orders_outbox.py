"""The outbox of brokers: what is to be carried out, its orders, their fills as the venue states them.

An order is ``unknown`` from the moment before it is sent until the venue was heard or asked, so a process that is
killed in between loses nothing and repeats nothing. Only psycopg is imported: the process that holds orders is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, LiteralString

import psycopg
from psycopg.rows import class_row

from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.values import json_text

Role = Literal["entry", "protection", "exit"]
OutboxState = Literal["queued", "unknown", "open", "filled", "cancelled", "expired", "rejected"]
#: States in which an order may still be filled.
LIVE: frozenset[str] = frozenset({"queued", "unknown", "open"})

_PUT = """
INSERT INTO trading.handovers (broker, instrument_id, strategy, signal_ts, enter_until, exit_at, entries, stop_price,
                               target_price, target_factor)
VALUES (%(broker)s, %(instrument_id)s, %(strategy)s, %(signal_ts)s, %(enter_until)s, %(exit_at)s, %(entries)s,
        %(stop_price)s, %(target_price)s, %(target_factor)s)
ON CONFLICT DO NOTHING RETURNING handover_id
"""
_HANDOVERS = """
SELECT h.handover_id, h.broker, i.symbol AS instrument, h.strategy, h.signal_ts, h.enter_until, h.exit_at, h.entries,
       h.stop_price, h.target_price, h.target_factor, h.state, h.reason
FROM trading.handovers h JOIN market.instruments i USING (instrument_id)
WHERE h.broker = %(broker)s AND (%(all)s OR h.state <> 'closed') ORDER BY h.handover_id
"""
_ORDERS = """
SELECT client_id, handover_id, role, number, side, kind, quantity, price, stop_price, state, cancel_wanted, stop_rests,
       filled, attempts, extract(epoch FROM clock_timestamp() - attempted_at)::float8 AS since_attempt,
       next_attempt <= clock_timestamp() AS due, venue_id, error, extract(epoch FROM created_at)::float8 AS queued_at
FROM trading.order_outbox WHERE handover_id = ANY(%s) ORDER BY created_at, number
"""
_FILLS = """
SELECT f.fill_id, f.client_id, o.handover_id, i.symbol AS instrument, f.side, f.price, f.quantity, f.fee, f.fee_asset,
       f.filled_at
FROM trading.venue_fills f JOIN trading.order_outbox o USING (client_id) JOIN market.instruments i USING (instrument_id)
WHERE o.handover_id = ANY(%s) ORDER BY f.filled_at, f.fill_id
"""
_QUEUE = """
INSERT INTO trading.order_outbox (client_id, handover_id, role, number, side, kind, quantity, price, stop_price)
VALUES (%(client_id)s, %(handover_id)s, %(role)s, %(number)s, %(side)s, %(kind)s, %(quantity)s, %(price)s,
        %(stop_price)s)
ON CONFLICT DO NOTHING
"""
_CLAIM = """
UPDATE trading.order_outbox SET state = 'unknown', attempts = attempts + 1, attempted_at = clock_timestamp()
WHERE client_id = %s AND state IN ('queued', 'unknown') RETURNING attempts
"""
_ATTEMPTED = "UPDATE trading.order_outbox SET attempted_at = clock_timestamp(), error = %s WHERE client_id = %s"
_RECORD = """
UPDATE trading.order_outbox SET state = %(state)s, filled = greatest(filled, %(filled)s), stop_rests = %(stop_rests)s,
    venue_id = coalesce(%(venue_id)s, venue_id), error = coalesce(%(error)s, error),
    ended_at = CASE WHEN %(state)s = 'open' THEN NULL ELSE coalesce(ended_at, clock_timestamp()) END
WHERE client_id = %(client_id)s
"""
_REQUEUE = """
UPDATE trading.order_outbox SET state = 'queued', error = %(error)s,
    next_attempt = clock_timestamp() + make_interval(secs => %(pause)s)
WHERE client_id = %(client_id)s AND state = 'unknown'
"""
_CANCEL = "UPDATE trading.order_outbox SET cancel_wanted = true WHERE client_id = ANY(%s) AND NOT cancel_wanted"
_BOOK = """
INSERT INTO trading.venue_fills
    (broker, instrument_id, fill_id, client_id, side, price, quantity, fee, fee_asset, filled_at)
VALUES (%(broker)s, %(instrument_id)s, %(fill_id)s, %(client_id)s, %(side)s, %(price)s, %(quantity)s, %(fee)s,
        %(fee_asset)s, %(filled_at)s)
ON CONFLICT DO NOTHING
"""
_STATE = """
UPDATE trading.handovers SET state = %(state)s, reason = coalesce(reason, %(reason)s),
    closed_at = CASE WHEN %(state)s = 'closed' THEN coalesce(closed_at, clock_timestamp()) END
WHERE handover_id = %(handover_id)s AND state <> 'closed'
"""
_CLOSE = """
UPDATE trading.handovers h SET state = 'closing', reason = coalesce(h.reason, %(reason)s)
FROM market.instruments i
WHERE i.instrument_id = h.instrument_id AND h.broker = %(broker)s AND h.state = 'open'
  AND (%(symbol)s::text IS NULL OR i.symbol = %(symbol)s)
"""
_RECONCILED = "INSERT INTO trading.reconciliations (broker, passed, differences) VALUES (%s, %s, %s)"
_NEWEST = """
SELECT made_at, passed, differences FROM trading.reconciliations WHERE broker = %s
ORDER BY reconciliation_id DESC LIMIT 1
"""
# What a fill changes of an asset: bought or sold, paid or received, and the fee in its own asset.
_HELD = """
WITH fills AS (
    SELECT split_part(split_part(i.symbol, '@', 1), '-', 1) AS base,
           split_part(split_part(i.symbol, '@', 1), '-', 2) AS quote,
           CASE f.side WHEN 'buy' THEN f.quantity ELSE -f.quantity END AS quantity, f.price, f.fee, f.fee_asset
    FROM trading.venue_fills f JOIN market.instruments i USING (instrument_id) WHERE f.broker = %(broker)s
)
SELECT asset, sum(amount) FROM (
    SELECT base AS asset, quantity AS amount FROM fills
    UNION ALL SELECT quote, -price * quantity FROM fills
    UNION ALL SELECT fee_asset, -fee FROM fills
) AS changes GROUP BY asset ORDER BY asset
"""
_COUNTS = """
SELECT o.state, count(*) FROM trading.order_outbox o JOIN trading.handovers h USING (handover_id)
WHERE h.broker = %s GROUP BY o.state
"""


@dataclass(frozen=True, slots=True)
class Handover:
    """A position that a broker is to carry out. Prices in the quote asset, times UTC.

    Attributes:
        entries: Orders that open it: ``{"kind": "market" | "limit", "quantity": text, "price": text or null}``.
        enter_until: Entries that were not sent by then are not sent any more.
        exit_at: It is sold at the market then.
        target_price: The take profit, or None where ``target_factor`` times the average entry is.
        handover_id: 0 until it is stored.
    """

    broker: str
    instrument: str
    strategy: str
    signal_ts: datetime
    enter_until: datetime
    exit_at: datetime
    entries: list[dict[str, Any]]
    stop_price: Decimal
    target_price: Decimal | None = None
    target_factor: Decimal | None = None
    state: Literal["open", "closing", "closed"] = "open"
    reason: str | None = None
    handover_id: int = 0


@dataclass(frozen=True, slots=True)
class OutboxOrder:
    """An order as it is known here.

    ``since_attempt``: seconds since it was last sent; ``due``: it may be sent now; ``queued_at``: Unix seconds.
    """

    client_id: str
    handover_id: int
    role: Role
    number: int
    side: Literal["buy", "sell"]
    kind: Literal["market", "limit", "protection"]
    quantity: Decimal
    price: Decimal | None = None
    stop_price: Decimal | None = None
    state: OutboxState = "queued"
    cancel_wanted: bool = False
    stop_rests: bool = False
    filled: Decimal = Decimal(0)
    attempts: int = 0
    since_attempt: float | None = None
    due: bool = True
    venue_id: str | None = None
    error: str | None = None
    queued_at: float = 0.0

    @property
    def is_live(self) -> bool:
        """Whether it may still be filled, as far as is known."""
        return self.state in LIVE


@dataclass(frozen=True, slots=True)
class StatedFill:
    """A fill as the venue stated it."""

    fill_id: str
    client_id: str
    handover_id: int
    instrument: str
    side: Literal["buy", "sell"]
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_asset: str
    filled_at: datetime


class OrderOutbox:
    """Reads and writes the hand-over tables of one database."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def put(self, handover: Handover) -> int | None:
        """Store what is to be carried out; its number, or None where the signal was handed over before."""
        values = {name: getattr(handover, name) for name in Handover.__slots__}
        values["instrument_id"] = self._symbols.ids([handover.instrument])[handover.instrument]
        values["entries"] = json_text(handover.entries)
        row = self._connections.run(lambda connection: connection.execute(_PUT, values).fetchone())
        return None if row is None else int(row[0])

    def handovers(self, broker: str, *, closed: bool = False) -> list[Handover]:
        """Open ones, oldest first; with ``closed`` all."""
        return self._read(Handover, _HANDOVERS, {"broker": broker, "all": closed})

    def orders(self, handovers: Sequence[int]) -> list[OutboxOrder]:
        """All orders of these, oldest first."""
        return self._read(OutboxOrder, _ORDERS, [list(handovers)])

    def fills(self, handovers: Sequence[int]) -> list[StatedFill]:
        """All fills of these, oldest first."""
        return self._read(StatedFill, _FILLS, [list(handovers)])

    def _read(self, kind: type[Any], statement: LiteralString, values: Any) -> list[Any]:
        def read(connection: psycopg.Connection[Any]) -> list[Any]:
            with connection.cursor(row_factory=class_row(kind)) as cursor:
                return cursor.execute(statement, values).fetchall()

        return self._connections.run(read)

    def queue(self, orders: Sequence[OutboxOrder], cancels: Sequence[str] = ()) -> None:
        """Store orders that are to be sent, and the wish to cancel others, at once; repeats change nothing."""
        rows = [{name: getattr(order, name) for name in OutboxOrder.__slots__} for order in orders]

        def write(connection: psycopg.Connection[Any]) -> None:
            if rows:
                with connection.cursor() as cursor:
                    cursor.executemany(_QUEUE, rows)
            if cancels:
                connection.execute(_CANCEL, [list(cancels)])

        self._connections.run(write)

    def claim(self, client_id: str) -> bool:
        """Mark an order as being sent. False where it is neither queued nor unknown any more."""
        return self._connections.run(lambda connection: connection.execute(_CLAIM, [client_id]).fetchone()) is not None

    def attempted(self, client_id: str, error: str) -> None:
        """Note that an attempt ended without an answer: from now on the venue is asked."""
        self._execute(_ATTEMPTED, [error, client_id])

    def record(
        self,
        client_id: str,
        state: OutboxState,
        *,
        filled: Decimal = Decimal(0),
        stop_rests: bool = False,
        venue_id: str | None = None,
        error: str | None = None,
    ) -> None:
        """Note what the venue says of an order."""
        values = {"client_id": client_id, "state": state, "filled": filled, "stop_rests": stop_rests}
        self._execute(_RECORD, values | {"venue_id": venue_id, "error": error})

    def requeue(self, client_id: str, error: str, pause: float) -> None:
        """Note that an order certainly did not arrive; it is sent again after ``pause`` seconds."""
        self._execute(_REQUEUE, {"client_id": client_id, "error": error, "pause": pause})

    def book(self, broker: str, fills: Sequence[StatedFill]) -> None:
        """Store fills; those that are there already change nothing."""
        ids = self._symbols.ids([fill.instrument for fill in fills])
        rows = [
            {name: getattr(fill, name) for name in StatedFill.__slots__}
            | {"broker": broker, "instrument_id": ids[fill.instrument]}
            for fill in fills
        ]

        def write(connection: psycopg.Connection[Any]) -> None:
            with connection.cursor() as cursor:
                cursor.executemany(_BOOK, rows)

        if rows:
            self._connections.run(write)

    def set_state(self, handover_id: int, state: str, reason: str | None) -> None:
        """Move a hand-over on. The first reason stays."""
        self._execute(_STATE, {"handover_id": handover_id, "state": state, "reason": reason})

    def close(self, broker: str, reason: str, instrument: str | None = None) -> int:
        """Ask for open positions to be sold, of one instrument or all; return how many."""
        values = {"broker": broker, "reason": reason, "symbol": instrument}
        return self._connections.run(lambda connection: connection.execute(_CLOSE, values).rowcount)

    def reconciled(self, broker: str, differences: Sequence[str]) -> None:
        """Store a comparison with the venue."""
        self._execute(_RECONCILED, [broker, not differences, list(differences)])

    def last_reconciliation(self, broker: str) -> tuple[datetime, bool, list[str]] | None:
        """When it was made, whether it passed, and the differences; None before the first."""
        rows = self._connections.rows(_NEWEST, [broker])
        return None if not rows else (rows[0][0], rows[0][1], rows[0][2])

    def changes(self, broker: str) -> dict[str, Decimal]:
        """What all fills changed of each asset, fees included."""
        return dict(self._connections.rows(_HELD, {"broker": broker}))

    def counts(self, broker: str) -> dict[str, int]:
        """Number of orders by state."""
        return {state: int(count) for state, count in self._connections.rows(_COUNTS, [broker])}

    def _execute(self, statement: LiteralString, values: Any) -> None:
        self._connections.run(lambda connection: connection.execute(statement, values) and None)
