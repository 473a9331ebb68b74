"""Shadow variants in the database: their ledgers, the tests of them, and the changes that a person made.

The ledgers are computed from stored signals and bars and replaced as a whole, one variant a transaction; tests and
changes are decisions, whose rows never change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl
import psycopg
from psycopg.rows import class_row

from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.values import json_text

_SCANS = (
    "strategy", "instrument", "signal_ts", "moment", "taken", "limit_name", "limit_value", "limit_threshold", "size",
    "size_factor",
)  # fmt: skip
_TRADES = (
    "strategy", "instrument", "signal_ts", "entry_ts", "exit_ts", "outcome", "orders_filled", "size", "paid",
    "received", "fees", "slippage", "pnl", "net_return",
)  # fmt: skip
_OUTCOMES = ("strategy", "day", "net", "trades")
_LOCK = 0x73686164  # "shad"


@dataclass(frozen=True, slots=True)
class VariantLedger:
    """What is stored of a variant. Frames as simulations give them; further columns are left out.

    ``decisions``: one row per signal; ``trades``: closed ones; ``outcomes``: ``strategy``, ``day`` (Date), ``net``
    (fraction), ``trades`` (closed on the day).
    """

    variation: str
    parameters_hash: str
    about: str
    declares: Mapping[str, Any]
    parameters: Mapping[str, Any]
    decisions: pl.DataFrame
    trades: pl.DataFrame
    outcomes: pl.DataFrame


@dataclass(frozen=True, slots=True)
class ShadowTest:
    """A test of all variants. ``figures``: by strategy a list of comparisons; ``recommended``: variant by strategy."""

    market_time: datetime
    first_day: date
    last_day: date
    seed: int
    parameters_hash: str
    figures: Mapping[str, Any]
    recommended: Mapping[str, str]
    test_id: int | None = None
    decided_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ShadowChange:
    """A change of production that a person made of one strategy. ``variation`` CHAMPION: back to the settings."""

    market_time: datetime
    strategy: str
    variation: str
    declares: Mapping[str, Any]
    changed_by: str
    reason: str
    test_id: int | None = None
    changed_at: datetime | None = None


_TEST = "market_time, first_day, last_day, seed, parameters_hash, figures, recommended, test_id, decided_at"
_CHANGE = "market_time, strategy, variation, declares, changed_by, reason, test_id, changed_at"
_ADD_TEST = """
INSERT INTO trading.shadow_tests (market_time, first_day, last_day, seed, parameters_hash, figures, recommended)
VALUES (%s, %s, %s, %s, %s, %s::jsonb, %s::jsonb) ON CONFLICT (last_day) DO NOTHING RETURNING test_id"""
_ADD_CHANGE = """
INSERT INTO trading.shadow_changes (market_time, strategy, variation, declares, changed_by, reason, test_id)
VALUES (%s, %s, %s, %s::jsonb, %s, %s, %s)"""
_ADD_VARIATION = """
INSERT INTO trading.shadow_variations (variation, parameters_hash, about, declares, parameters)
VALUES (%s, %s, %s, %s::jsonb, %s::jsonb) ON CONFLICT DO NOTHING"""
_IN_FORCE = f"SELECT DISTINCT ON (strategy) {_CHANGE} FROM trading.shadow_changes ORDER BY strategy, change_id DESC"  # noqa: S608


@fork_safety.with_parts
class ShadowTables:
    """Reads and writes the tables of shadow variants. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def put(self, ledger: VariantLedger) -> None:
        """Store a variant's ledger in place of the one that was made with the same parameters. One transaction.

        Raises StoreError for an unknown instrument.
        """
        names = {*ledger.decisions["instrument"].to_list(), *ledger.trades["instrument"].to_list()}
        ids = self._symbols.ids(sorted(names)) if names else {}
        key = (ledger.variation, ledger.parameters_hash)
        tables = (
            ("shadow_testing_scans", _SCANS, ledger.decisions),
            ("shadow_testing_trades", _TRADES, ledger.trades),
            ("shadow_outcomes", _OUTCOMES, ledger.outcomes),
        )

        def work(connection: psycopg.Connection[Any]) -> None:
            connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK, ledger.variation))
            described = (ledger.about, json_text(ledger.declares), json_text(ledger.parameters))
            connection.execute(_ADD_VARIATION, (*key, *described))
            for table, columns, frame in tables:
                _replace(connection, table, columns, key, _rows(frame, columns, ids))

        self._connections.run(work)

    def add_test(self, test: ShadowTest) -> ShadowTest:
        """Store a test; of a last day that has one already, the stored one stays. Returns the stored one."""
        values = (
            test.market_time, test.first_day, test.last_day, test.seed, test.parameters_hash, json_text(test.figures),
            json_text(test.recommended),
        )  # fmt: skip
        self._connections.rows(_ADD_TEST, values)
        return next(each for each in self.tests() if each.last_day == test.last_day)

    def change(self, change: ShadowChange) -> None:
        """Store a change that a person made. Raises StoreError where name or reason is empty."""
        if not change.reason.strip() or not change.changed_by.strip():
            raise StoreError("a change of production needs a reason and the name of who makes it")
        self._connections.run(
            lambda connection: connection.execute(
                _ADD_CHANGE,
                (change.market_time, change.strategy, change.variation, json_text(change.declares), change.changed_by,
                 change.reason, change.test_id),
            ) and None
        )  # fmt: skip

    # Reading

    def tests(self, limit: int = 100) -> list[ShadowTest]:
        """Tests, the newest first."""
        return self._read(ShadowTest, f"SELECT {_TEST} FROM trading.shadow_tests ORDER BY last_day DESC LIMIT {limit}")  # noqa: S608

    def changes(self) -> list[ShadowChange]:
        """All changes that persons made, the newest first."""
        return self._read(ShadowChange, f"SELECT {_CHANGE} FROM trading.shadow_changes ORDER BY change_id DESC")  # noqa: S608

    def in_force(self) -> dict[str, ShadowChange]:
        """The newest change of each strategy that has one."""
        return {each.strategy: each for each in self._read(ShadowChange, _IN_FORCE)}

    def outcomes(self, hashes: Mapping[str, str]) -> pl.DataFrame:
        """Daily outcomes of variants with these parameters: ``variation``, ``strategy``, ``day``, ``net``, ``trades``.

        ``hashes``: of the parameters, by variant.
        """
        query = (
            "SELECT variation, strategy, day, net, trades FROM trading.shadow_outcomes "
            "JOIN unnest($1::text[], $2::text[]) AS k (variation, parameters_hash) USING (variation, parameters_hash) "
            "ORDER BY variation, strategy, day"
        )
        return self._connections.frame(query, [list(hashes), list(hashes.values())])

    def _read(self, row: type[Any], query: str) -> list[Any]:
        def work(connection: psycopg.Connection[Any]) -> list[Any]:
            with connection.cursor(row_factory=class_row(row)) as cursor:
                return cursor.execute(query).fetchall()

        return self._connections.run(work)


def _rows(frame: pl.DataFrame, columns: Sequence[str], ids: Mapping[str, int]) -> Iterator[tuple[Any, ...]]:
    """Rows for COPY, with the id of an instrument in the place of its name."""
    for row in frame.select(columns).iter_rows(named=True):
        yield tuple(ids[value] if name == "instrument" else value for name, value in row.items())


def _replace(
    connection: psycopg.Connection[Any], table: str, columns: Sequence[str], key: tuple[str, str],
    rows: Iterator[tuple[Any, ...]],
) -> None:  # fmt: skip
    connection.execute(f"DELETE FROM trading.{table} WHERE variation = %s AND parameters_hash = %s", key)  # noqa: S608
    stored = ["instrument_id" if name == "instrument" else name for name in columns]
    copied = f"COPY trading.{table} (variation, parameters_hash, {', '.join(stored)}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(copied) as copy:
        for row in rows:
            copy.write_row((*key, *row))
