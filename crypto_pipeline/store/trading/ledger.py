"""The ledger in the database: accounts, decisions, what was booked, and the state that follows from it.

An account advances from moment to moment in transactions of one writer each, which locks the account's row: all rows of
the moments or none. What was decided or booked never changes; open positions are replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import polars as pl
import psycopg
from psycopg.rows import class_row

from crypto_pipeline.market.timeframes import require_utc
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.frames import numbered
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.values import json_text
from crypto_pipeline.store.trading import ledger_sql as statements
from crypto_pipeline.store.trading.ledger_columns import KEY, LEDGER_TABLES, POSTED_TO
from crypto_pipeline.store.trading.ledger_reads import LedgerReads


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account: what it began with, and how far it is. Times are UTC; see the comments of ``trading.accounts``."""

    account: str
    currency: str
    capital: Decimal
    parameters_hash: str
    created_at: datetime
    began: datetime
    moment: datetime
    checked_version: int


@dataclass(frozen=True, slots=True)
class LedgerRows:
    """What is booked of a span of moments, as frames of ``ledger_columns``, in one transaction.

    ``positions``: all that are open at the end; ``reopened``: trades whose row no longer holds (REOPENED_SCHEMA);
    ``risk_changes``: columns of ``trading.risk_state``.
    """

    signals: pl.DataFrame
    orders: pl.DataFrame
    fills: pl.DataFrame
    postings: pl.DataFrame
    trade_logs: pl.DataFrame
    equity: pl.DataFrame
    positions: pl.DataFrame
    reopened: pl.DataFrame
    risk_changes: pl.DataFrame


@fork_safety.with_parts
class TradingLedger(LedgerReads):
    """Reads and writes the ledger of accounts. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        super().__init__(connections, symbols)

    def account(self, account: str) -> AccountRow | None:
        """The account; None where there is none of this name."""

        def read(connection: psycopg.Connection[Any]) -> AccountRow | None:
            with connection.cursor(row_factory=class_row(AccountRow)) as cursor:
                return cursor.execute(statements.ACCOUNT, [account]).fetchone()

        return self._connections.run(read)

    def declare(self, parameters_hash: str, parameters: Mapping[str, Any]) -> None:
        """Store the trading parameters of a hash, before anything is decided with them."""
        values = [parameters_hash, json_text(parameters)]
        self._connections.run(lambda connection: connection.execute(statements.DECLARE, values) and None)

    def parameters(self, parameters_hash: str) -> dict[str, Any]:
        """The parameters of a hash. Raises StoreError for an unknown one."""
        rows = self._connections.rows(statements.PARAMETERS, [parameters_hash])
        if not rows:
            raise StoreError(f"nothing was ever decided with the parameters {parameters_hash!r}")
        return dict(rows[0][0])

    def begin(
        self, account: str, currency: str, capital: Decimal, parameters_hash: str, began: datetime,
        opening: Sequence[tuple[str, str, Decimal]],
    ) -> None:  # fmt: skip
        """Open an account that begins at ``began`` with ``opening`` postings; one that is there already stays."""
        moment = require_utc(began)

        def work(connection: psycopg.Connection[Any]) -> None:
            values = [account, currency, capital, parameters_hash, moment, moment]
            if connection.execute(statements.BEGIN, values).rowcount:
                with connection.cursor() as cursor:
                    cursor.executemany(statements.OPENING, [(account, moment, *posting) for posting in opening])

        self._connections.run(work)

    def advance(
        self, account: str, expected: datetime, until: datetime, parameters_hash: str, rows: LedgerRows,
        checked_version: int,
    ) -> bool:  # fmt: skip
        """Store what was booked from the moment after ``expected`` up to ``until``; False, and nothing is stored,
        where the account is no longer at ``expected``: another pass was faster.

        Raises StoreError for an unknown instrument, and where postings do not balance.
        """
        texts = {name: self._text(account, name, getattr(rows, name)) for name in LEDGER_TABLES}
        keys = self._keys(account, rows.reopened)

        def work(connection: psycopg.Connection[Any]) -> bool:
            found = connection.execute(statements.LOCK, [account]).fetchone()
            if found is None or found[0] != expected:
                return False
            connection.execute(statements.CLEAR_POSITIONS, [account])
            with connection.cursor() as cursor:
                cursor.executemany(statements.SUPERSEDE, [(until, *key) for key in keys])
            for name, (columns, text) in texts.items():
                if text:
                    with connection.cursor() as cursor, cursor.copy(statements.copy(name, columns)) as copy:
                        copy.write(text)
            with connection.cursor() as cursor:
                cursor.executemany(statements.RISK_CHANGE, [(account, *row) for row in rows.risk_changes.iter_rows()])
            connection.execute(statements.ADVANCE, [until, parameters_hash, checked_version, account])
            return True

        return self._connections.run(work)

    def reset(self, account: str, reason: str, decided_by: str) -> datetime:
        """Reset a halt at the next moment of the account, which is returned. Raises StoreError where there is none.

        A second reset of the same moment changes nothing.
        """

        def work(connection: psycopg.Connection[Any]) -> datetime:
            found = connection.execute(statements.LOCK, [account]).fetchone()
            if found is None:
                raise StoreError(f"there is no account {account!r}: nothing was traded yet")
            moment: datetime = connection.execute(statements.RESET, [account, reason, decided_by, account]).fetchone()[
                0
            ]  # type: ignore[index]
            return moment

        return self._connections.run(work)

    def _text(self, account: str, name: str, frame: pl.DataFrame) -> tuple[list[str], bytes]:
        """Columns and CSV text of a frame for its table."""
        schema = LEDGER_TABLES[name]
        if frame.is_empty():
            return [], b""
        ids = self._symbols.ids(frame["instrument"].unique().to_list()) if "instrument" in schema else None
        cast = frame.select(pl.col(column).cast(dtype) for column, dtype in schema.items())
        table = cast if ids is None else numbered(cast, ids)
        if "account" in schema:
            table = table.rename({"account": POSTED_TO})
        table = table.select(pl.lit(account).alias("account"), pl.all())
        text = table.write_csv(include_header=False, datetime_format="%Y-%m-%d %H:%M:%S%.3f+00")
        return table.columns, text.encode()

    def _keys(self, account: str, reopened: pl.DataFrame) -> list[tuple[Any, ...]]:
        ids = self._symbols.ids(reopened["instrument"].unique().to_list())
        return [
            (account, strategy, ids[name], signal_ts, revision)
            for strategy, name, signal_ts, revision in reopened.select(*KEY, "revision").iter_rows()
        ]
