"""Stored trades as a source of bars: the trades of a span with the ids before and after them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.trades.writer import Trades

# Per span the nearest trades before and after it, and whether it has any: index look-ups, for any number of trades.
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
#: Greatest distance of the trade before or after a span; farther trades are not needed.
_NEAR = "6 hours"


@dataclass(frozen=True, slots=True)
class StoredTrades:
    """Trades (TRADE_SCHEMA) of ``[start, end)``; the ids before and after are None if no trade is near.

    ``single_before`` and ``single_after`` are the ids of the adjacent individual trades.
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
    """Yield the stored trades of ``venue`` for each span (instrument, start, end) that has some, one span at a time."""
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
