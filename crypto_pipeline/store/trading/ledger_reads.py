"""What is read of the ledger: rows of its tables as frames, and what the next pass begins with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from crypto_pipeline.market.timeframes import require_utc
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.trading import ledger_sql as statements
from crypto_pipeline.store.trading.ledger_columns import LEDGER_TABLES, POSTED_TO

_UTC_US = pl.Datetime("us", "UTC")
#: By which time the rows of each table are chosen.
_TIME_OF = {"signals": "moment", "trade_logs": "exit_ts", "positions": "entry_ts"}
TradeId = tuple[str, str, datetime]


class LedgerReads:
    """Reads of the ledger. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def read(
        self,
        table: str,
        account: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        instruments: Sequence[str] | None = None,
        strategy: str | None = None,
    ) -> pl.DataFrame:
        """Rows of a table of the ledger, in the columns of ``LEDGER_TABLES``, sorted by time and trade.

        ``[start, end)`` is of the moment of the row; of trades, of their end. Trades that no longer hold are left out.
        Raises StoreError for an unknown table or instrument.
        """
        if table not in LEDGER_TABLES:
            raise StoreError(f"the ledger has no table {table!r}: use one of {', '.join(LEDGER_TABLES)}")
        time = sql.Identifier(_TIME_OF.get(table, "moment"))
        conditions: list[sql.Composable] = [sql.SQL("t.account = %s")]
        values: list[Any] = [account]
        for moment, comparison in ((start, ">="), (end, "<")):
            if moment is not None:
                conditions.append(sql.SQL("t.{} >= %s" if comparison == ">=" else "t.{} < %s").format(time))
                values.append(require_utc(moment))
        if table == "trade_logs":
            conditions.append(sql.SQL("t.superseded_at IS NULL"))
        if instruments is not None:
            conditions.append(sql.SQL("t.instrument_id = ANY(%s)"))
            values.append(list(self._symbols.ids(instruments).values()))
        if strategy is not None:
            conditions.append(sql.SQL("t.strategy = %s"))
            values.append(strategy)
        return self._frame(table, sql.SQL(" AND ").join(conditions), values, time)

    def rows_of(self, table: str, account: str, trades: Sequence[TradeId]) -> pl.DataFrame:
        """Rows of some trades, in the columns of the table, as ``read`` sorts them."""
        if not trades:
            return pl.DataFrame(schema=LEDGER_TABLES[table])
        ids = self._symbols.ids({name for _, name, _ in trades})
        condition: sql.Composable = sql.SQL(
            "t.account = %s AND (t.strategy, t.instrument_id, t.signal_ts) IN "
            "(SELECT * FROM unnest(%s::text[], %s::int[], %s::timestamptz[]))"
        )
        columns = [list(one) for one in zip(*trades, strict=True)]
        values = [account, columns[0], [ids[name] for name in columns[1]], columns[2]]
        if table == "trade_logs":
            condition = sql.Composed([condition, sql.SQL(" AND t.superseded_at IS NULL")])
        return self._frame(table, condition, values, sql.Identifier(_TIME_OF.get(table, "moment")))

    def _frame(self, table: str, condition: Any, values: Sequence[Any], time: sql.Identifier) -> pl.DataFrame:
        schema = LEDGER_TABLES[table]
        own = "instrument" in schema
        columns = [
            sql.SQL("i.symbol AS instrument") if name == "instrument"
            else sql.SQL("t.{}::text").format(sql.Identifier(name)) if name == "measures"
            else sql.SQL("t.{} AS account").format(sql.Identifier(POSTED_TO)) if name == "account"
            else sql.SQL("t.{}").format(sql.Identifier(name))
            for name in schema
        ]  # fmt: skip
        order: list[sql.Composable] = [sql.SQL("t.{}").format(time)]
        order += [sql.SQL("t.signal_ts, t.strategy, i.symbol")] if own else []
        order += [sql.SQL("t.{}").format(sql.Identifier(name)) for name in _ORDER.get(table, ())]
        query = sql.SQL("SELECT {} FROM trading.{} t {} WHERE {} ORDER BY {}").format(
            sql.SQL(", ").join(columns),
            sql.Identifier(table),
            sql.SQL("LEFT JOIN market.instruments i USING (instrument_id)" if own else ""),
            condition,
            sql.SQL(", ").join(order),
        )

        def work(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
            with connection.cursor(binary=True) as cursor:
                return cursor.execute(query, values).fetchall()

        types = {name: _UTC_US if isinstance(dtype, pl.Datetime) else dtype for name, dtype in schema.items()}
        found = pl.DataFrame(self._connections.run(work), schema=types, orient="row")
        return found.select(pl.col(name).cast(dtype) for name, dtype in schema.items())

    # What the next pass begins with

    def last_equity(self, account: str, moment: datetime) -> pl.DataFrame:
        """The account at ``moment``: one row, or none before the first moment."""
        condition = sql.SQL("t.account = %s AND t.moment = %s")
        return self._frame("equity", condition, [account, require_utc(moment)], sql.Identifier("moment"))

    def ends(self, account: str, kept: int) -> list[tuple[str, datetime, str, datetime, bool, str]]:
        """The last ``kept`` trades of each instrument, in order of their ends: instrument, end, strategy, signal bar,
        whether at the stop, tier.
        """
        names = self._symbols.names()
        rows = self._connections.rows(statements.ENDS, [account, kept])
        return [(names[number], _utc(end), strategy, _utc(ts), *rest) for number, end, strategy, ts, *rest in rows]

    def resets(self, account: str, after: datetime) -> list[datetime]:
        """Moments after ``after`` at which a person reset a halt."""
        return [_utc(moment) for (moment,) in self._connections.rows(statements.RESETS, [account, after])]

    def newest_version(self) -> int:
        """The newest data version of the bars that trades rest on."""
        return int(self._connections.row(statements.NEWEST_VERSION)[0])

    def affected(self, account: str, version: int, moment: datetime) -> list[TradeId]:
        """Taken trades of 60 days until ``moment`` on days whose 15m bars or minutes have changed since."""
        names = self._symbols.names()
        values = {"account": account, "version": version, "moment": require_utc(moment)}
        return [
            (strategy, names[number], _utc(ts))
            for strategy, number, ts in self._connections.rows(statements.AFFECTED, values)
        ]


#: By what the rows of one trade and time are sorted.
_ORDER = {
    "orders": ("event_id",),
    "fills": ("number",),
    "postings": ("number", POSTED_TO, "currency"),
    "trade_logs": ("revision",),
}


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
