"""Facts about orders at brokers that the operational checks judge: unknown ones, what is not protected, comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

# Of open positions: bought less sold, and what live sales of it cover. A rest below a hundredth is what fees and steps
# leave over. At Hummingbot no stop rests, so nothing covers a position there but the desk itself.
_ORDERS = """
WITH positions AS (
    SELECT h.handover_id, h.broker, i.symbol,
           (SELECT coalesce(sum(CASE f.side WHEN 'buy' THEN f.quantity ELSE -f.quantity END), 0)
            FROM trading.venue_fills f JOIN trading.order_outbox o USING (client_id)
            WHERE o.handover_id = h.handover_id) AS held,
           (SELECT coalesce(sum(o.quantity), 0) FROM trading.order_outbox o
            WHERE o.handover_id = h.handover_id AND o.side = 'sell'
              AND o.state IN ('queued', 'unknown', 'open')) AS sales,
           (SELECT max(f.recorded_at) FROM trading.venue_fills f JOIN trading.order_outbox o USING (client_id)
            WHERE o.handover_id = h.handover_id) AS changed
    FROM trading.handovers h JOIN market.instruments i USING (instrument_id) WHERE h.state <> 'closed'
)
SELECT broker, count(*),
       coalesce((SELECT max(extract(epoch FROM clock_timestamp() - coalesce(o.attempted_at, o.created_at)))
                 FROM trading.order_outbox o JOIN trading.handovers h USING (handover_id)
                 WHERE o.state = 'unknown' AND h.broker = p.broker), 0)::float8,
       coalesce(array_agg(symbol ORDER BY symbol) FILTER (
           WHERE broker NOT LIKE 'hummingbot%' AND held > sales * 1.01
             AND changed < clock_timestamp() - interval '30 seconds'), '{}'),
       (SELECT r.differences FROM trading.reconciliations r WHERE r.broker = p.broker
        ORDER BY r.reconciliation_id DESC LIMIT 1),
       (SELECT extract(epoch FROM clock_timestamp() - r.made_at)::float8 FROM trading.reconciliations r
        WHERE r.broker = p.broker ORDER BY r.reconciliation_id DESC LIMIT 1)
FROM positions p GROUP BY broker ORDER BY broker
"""


@dataclass(frozen=True, slots=True)
class BrokerFact:
    """Open positions of one broker.

    Attributes:
        unknown: Seconds for which the longest unknown order has been unknown; 0 without one.
        bare: Instruments of positions of which more is held than live sales cover, for longer than half a minute.
        differences: Of the last comparison with the venue; None before the first.
        compared: Seconds since it.
    """

    broker: str
    positions: int
    unknown: float = 0.0
    bare: tuple[str, ...] = ()
    differences: tuple[str, ...] | None = ()
    compared: float | None = 0.0


def read_orders(connection: psycopg.Connection[Any]) -> tuple[BrokerFact, ...]:
    """Brokers with open positions. Raises psycopg.Error."""
    return tuple(
        BrokerFact(broker, positions, unknown, tuple(bare), None if told is None else tuple(told), compared)
        for broker, positions, unknown, bare, told, compared in connection.execute(_ORDERS)
    )
