"""Stored trades as a source of bars: the trades of a span with the ids of their neighbours on either side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.trades.writer import Trades

# Per span the nearest trade on either side, and whether any lies between: index look-ups, however many trades.
_EDGES = """
WITH r AS (
    SELECT place, i, since, until
    FROM unnest(%(instruments)s::int[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) WITH ORDINALITY
         AS r (i, since, until, place)
)
SELECT r.place, before.trade_id, after.trade_id, before.last_id, after.first_id
FROM r
LEFT JOIN LATERAL (
    SELECT t.trade_id, t.last_id FROM market.trades t
    WHERE t.instrument_id = r.i AND t.venue_id = %(venue)s
      AND t."time" < r.since AND t."time" >= r.since - %(near)s::interval
    ORDER BY t."time" DESC, t.trade_id DESC LIMIT 1) AS before ON true
LEFT JOIN LATERAL (
    SELECT t.trade_id, t.first_id FROM market.trades t
    WHERE t.instrument_id = r.i AND t.venue_id = %(venue)s
      AND t."time" >= r.until AND t."time" < r.until + %(near)s::interval
    ORDER BY t."time", t.trade_id LIMIT 1) AS after ON true
WHERE EXISTS (SELECT FROM market.trades t
              WHERE t.instrument_id = r.i AND t.venue_id = %(venue)s AND t."time" >= r.since AND t."time" < r.until)
ORDER BY r.place
"""
#: A neighbour further away than this proves nothing that anyone waits for.
_NEAR = "6 hours"


@dataclass(frozen=True, slots=True)
class StoredTrades:
    """Trades (TRADE_SCHEMA) of ``[start, end)``; the ids beside them are None where none is near.

    ``single_before`` and ``single_after`` are the individual trades next to them.
    """

    instrument: str
    start: datetime
    end: datetime
    trades: pl.DataFrame
    id_before: int | None
    id_after: int | None
    single_before: int | None
    single_after: int | None


def stored_trades(
    connections: Connections,
    symbols: Symbols,
    trades: Trades,
    venue: str,
    spans: Sequence[tuple[str, datetime, datetime]],
) -> Iterator[StoredTrades]:
    """Of each span (instrument, start, end) that has trades of ``venue`` stored, those trades; one span in memory."""
    if not spans:
        return
    ids = symbols.ids({name for name, _, _ in spans})
    values = {
        "instruments": [ids[name] for name, _, _ in spans],
        "starts": [start for _, start, _ in spans],
        "ends": [end for _, _, end in spans],
        "venue": trades.venue_id(venue),
        "near": _NEAR,
    }
    found = connections.run(lambda connection: connection.execute(_EDGES, values).fetchall())
    for place, *beside in found:
        name, start, end = spans[place - 1]
        yield StoredTrades(name, start, end, trades.read(venue, [name], start, end), *beside)
