"""What is read of accounts beside rows of the ledger: counts and sums that tell whether the books agree."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import polars as pl

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.trading.ledger_columns import LEDGER_TABLES

_CORRECTIONS = """
SELECT count(*) FROM trading.trade_logs WHERE account = %s AND (superseded_at IS NOT NULL OR revision > 0)
"""
#: Events whose postings do not sum to zero in a currency: none, by the constraint.
_UNBALANCED = """
SELECT strategy, instrument_id, signal_ts, number, currency, sum(amount)
FROM trading.postings WHERE account = %s
GROUP BY strategy, instrument_id, signal_ts, number, currency HAVING sum(amount) <> 0
ORDER BY signal_ts, strategy, instrument_id, number LIMIT 100
"""
#: Sums that are told by two tables each.
_AGREEMENTS = """
WITH a AS (SELECT * FROM trading.accounts WHERE account = %(account)s),
e AS (SELECT * FROM trading.equity JOIN a USING (account, moment)),
p AS (SELECT coalesce(sum(units), 0) AS units, coalesce(sum(result), 0) AS result, coalesce(sum(value), 0) AS value,
             coalesce(sum(fees), 0) AS fees, coalesce(sum(slippage), 0) AS slippage
      FROM trading.positions WHERE account = %(account)s),
t AS (SELECT coalesce(sum(pnl), 0) AS pnl, coalesce(sum(fees), 0) AS fees, coalesce(sum(slippage), 0) AS slippage
      FROM trading.trade_logs WHERE account = %(account)s AND superseded_at IS NULL),
l AS (SELECT d.ledger_account, coalesce(sum(d.amount) FILTER (WHERE d.currency = a.currency), 0) AS amount
      FROM trading.postings d JOIN a USING (account) GROUP BY d.ledger_account)
SELECT what, told, also_told FROM (
    SELECT 'cash: equity, postings' AS what, e.cash AS told,
           (SELECT amount FROM l WHERE ledger_account = 'cash') AS also_told FROM e
    UNION ALL SELECT 'fees: trades and positions, postings', t.fees + p.fees,
           coalesce((SELECT amount FROM l WHERE ledger_account = 'fees'), 0) FROM t, p
    UNION ALL SELECT 'slippage: trades and positions, postings', t.slippage + p.slippage,
           coalesce((SELECT amount FROM l WHERE ledger_account = 'slippage'), 0) FROM t, p
    UNION ALL SELECT 'positions: equity, positions', e.positions, p.value FROM e, p
    UNION ALL SELECT 'equity: equity, start and results', e.equity, a.capital + t.pnl + p.result FROM e, a, t, p
) told WHERE told IS DISTINCT FROM also_told
"""
#: What is held of each trade, as its fills, its postings and its position say.
_HELD = """
WITH filled AS (
    SELECT strategy, instrument_id, signal_ts, sum(units) AS units FROM trading.fills
    WHERE account = %(account)s GROUP BY 1, 2, 3
), posted AS (
    SELECT strategy, instrument_id, signal_ts, sum(amount) AS units FROM trading.postings
    WHERE account = %(account)s AND ledger_account = 'position' GROUP BY 1, 2, 3
), held AS (
    SELECT strategy, instrument_id, signal_ts, units FROM trading.positions WHERE account = %(account)s
)
SELECT strategy, i.symbol, signal_ts, coalesce(filled.units, 0), coalesce(posted.units, 0), coalesce(held.units, 0)
FROM filled FULL JOIN posted USING (strategy, instrument_id, signal_ts)
FULL JOIN held USING (strategy, instrument_id, signal_ts) JOIN market.instruments i USING (instrument_id)
WHERE coalesce(filled.units, 0) <> coalesce(posted.units, 0) OR coalesce(filled.units, 0) <> coalesce(held.units, 0)
ORDER BY signal_ts, strategy, i.symbol LIMIT 100
"""
#: Scans that found a setup while the account was trading, and that no decision follows.
_UNDECIDED = """
SELECT h.strategy, i.symbol, h.signal_ts, 'no decision'
FROM trading.scan_history h JOIN market.instruments i USING (instrument_id)
JOIN trading.accounts a ON a.account = %(account)s
WHERE h.decision = 'TAKE' AND h.signal_ts >= a.began AND h.signal_ts + interval '15 minutes' <= a.moment
  AND NOT EXISTS (SELECT FROM trading.signals s WHERE s.account = a.account AND s.strategy = h.strategy
                  AND s.instrument_id = h.instrument_id AND s.signal_ts = h.signal_ts)
ORDER BY h.signal_ts, h.strategy, i.symbol LIMIT 100
"""
#: Taken signals of which neither an open position, nor a closed trade, nor a cancelled entry is known.
_UNFOLLOWED = """
SELECT s.strategy, i.symbol, s.signal_ts,
       CASE WHEN o.order_number IS NULL THEN 'no order' ELSE 'neither open, nor closed, nor cancelled' END
FROM trading.signals s JOIN market.instruments i USING (instrument_id)
LEFT JOIN trading.orders o ON (o.account, o.strategy, o.instrument_id, o.signal_ts)
        = (s.account, s.strategy, s.instrument_id, s.signal_ts) AND o.order_number = 0 AND o.event = 'placed'
WHERE s.account = %(account)s AND s.taken AND (o.order_number IS NULL OR NOT (
    EXISTS (SELECT FROM trading.positions p WHERE (p.account, p.strategy, p.instrument_id, p.signal_ts)
            = (s.account, s.strategy, s.instrument_id, s.signal_ts))
    OR EXISTS (SELECT FROM trading.trade_logs t WHERE (t.account, t.strategy, t.instrument_id, t.signal_ts)
               = (s.account, s.strategy, s.instrument_id, s.signal_ts) AND t.superseded_at IS NULL)
    OR EXISTS (SELECT FROM trading.orders c WHERE c.order_number = 0 AND c.event = 'cancelled'
               AND (c.account, c.strategy, c.instrument_id, c.signal_ts)
               = (s.account, s.strategy, s.instrument_id, s.signal_ts))))
ORDER BY s.signal_ts, s.strategy, i.symbol LIMIT 100
"""
_COUNTS = """
SELECT (SELECT count(*) FROM trading.signals WHERE account = %(account)s),
       (SELECT count(*) FROM trading.signals WHERE account = %(account)s AND taken),
       (SELECT count(*) FROM trading.fills WHERE account = %(account)s)
"""
#: The last reconciliation with each venue.
_VENUES = """
SELECT DISTINCT ON (broker) broker, made_at, passed, differences
FROM trading.reconciliations ORDER BY broker, reconciliation_id DESC
"""
#: Tables that are read whole, with the time by which their rows are chosen, and what must hold besides.
_WHOLE = {
    "signals": ("moment", ""),
    "trade_logs": ("exit_ts", " AND t.superseded_at IS NULL"),
    "equity": ("moment", ""),
}
_TRADE: dict[str, pl.DataType] = {"strategy": pl.String(), "instrument": pl.String(), "signal_ts": UTC_MS}


@fork_safety.with_parts
class PortfolioReads:
    """Reads of accounts. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def rows(self, table: str, account: str, after: datetime | None, until: datetime) -> pl.DataFrame:
        """Rows of ``signals``, ``trade_logs`` or ``equity`` in ``(after, until]``, as the ledger's ``read`` gives them.

        For thousands of rows: they come as columns. Sums are sent as texts, which keep all digits. Raises StoreError.
        """
        schema, (time, more) = LEDGER_TABLES[table], _WHOLE[table]
        own = "instrument" in schema
        query = (
            f"SELECT {', '.join(_column(name, dtype) for name, dtype in schema.items())} FROM trading.{table} t "  # noqa: S608
            f"{'JOIN market.instruments i USING (instrument_id) ' if own else ''}"
            f"WHERE t.account = $1 AND ($2::timestamptz IS NULL OR t.{time} > $2) AND t.{time} <= $3{more} "
            f"ORDER BY t.{time}{', t.signal_ts, t.strategy, i.symbol' if own else ''}"
        )  # (names of ours)
        found = self._connections.frame(query, [account, after, until])
        return found.select(pl.col(name).cast(dtype) for name, dtype in schema.items())

    def corrections(self, account: str) -> int:
        """How many rows of closed trades come from corrections: it is another number after each of them."""
        return int(self._connections.row(_CORRECTIONS, [account])[0])

    def counts(self, account: str) -> tuple[int, int, int]:
        """Decided signals, taken ones, and fills."""
        decided, taken, fills = self._connections.row(_COUNTS, {"account": account})
        return decided, taken, fills

    def unbalanced(self, account: str) -> pl.DataFrame:
        """Events whose postings do not sum to zero: trade, ``number``, ``currency``, ``sum``."""
        names = self._symbols.names()
        rows = [
            (strategy, None if number is None else names[number], *rest, str(total))
            for strategy, number, *rest, total in self._connections.rows(_UNBALANCED, [account])
        ]
        schema = {**_TRADE, "number": pl.Int64(), "currency": pl.String(), "sum": pl.String()}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def disagreements(self, account: str) -> list[tuple[str, Decimal | None, Decimal | None]]:
        """Sums that two tables tell differently: what, and both of them."""
        return [(what, one, other) for what, one, other in self._connections.rows(_AGREEMENTS, {"account": account})]

    def held_differently(self, account: str) -> pl.DataFrame:
        """Trades of which fills, postings and positions do not say the same units, as texts."""
        rows = [(*row[:3], *map(str, row[3:])) for row in self._connections.rows(_HELD, {"account": account})]
        schema = {**_TRADE, "filled": pl.String(), "posted": pl.String(), "held": pl.String()}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def unfollowed(self, account: str) -> pl.DataFrame:
        """Setups of the scanner without a decision, and taken signals without what must follow: trade and ``lacks``."""
        rows = [
            row for query in (_UNDECIDED, _UNFOLLOWED) for row in self._connections.rows(query, {"account": account})
        ]
        return pl.DataFrame(rows, schema={**_TRADE, "lacks": pl.String()}, orient="row")

    def reconciliations(self) -> list[tuple[str, datetime, bool, list[str]]]:
        """The last comparison with each venue: broker, when (UTC), whether it passed, differences."""
        return [(broker, at, passed, found) for broker, at, passed, found in self._connections.rows(_VENUES)]


def _column(name: str, dtype: pl.DataType) -> str:
    if name == "instrument":
        return "i.symbol AS instrument"
    as_text = isinstance(dtype, pl.Decimal) or name == "measures"
    return f't."{name}"::text AS "{name}"' if as_text else f't."{name}"'
