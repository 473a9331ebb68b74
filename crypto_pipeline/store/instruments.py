"""Collected instruments, and their listings at venues."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl
from psycopg import Connection, sql
from psycopg.rows import dict_row

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections

if TYPE_CHECKING:
    import sqlalchemy


@dataclass(frozen=True, slots=True)
class InstrumentRow:
    """One stored instrument. An inactive one is no longer collected, but its data is kept."""

    id: int
    instrument: Instrument
    active: bool
    added_at: datetime


@dataclass(frozen=True, slots=True)
class ListingRow:
    """A venue's name and rules of an instrument; ``symbol`` is the canonical name. Times are UTC."""

    symbol: str
    venue_symbol: str
    listed: datetime | None = None
    delisted: datetime | None = None
    status: str = "trading"
    tick_size: Decimal | None = None
    lot_size: Decimal | None = None
    #: open time of the venue's first bar by timeframe, if it was requested
    first_bars: Mapping[str, datetime] = field(default_factory=dict)


#: the class below has a method called ``list``
Listings: TypeAlias = list[ListingRow]
Names: TypeAlias = list[str]

_ROWS = """
SELECT i.instrument_id AS id, i.symbol, i.venue, i.asset_class, i.base, i.quote, i.tier, i.calendar, i.tick_size,
       i.lot_size, i.active, i.added_at, coalesce(l.venue_symbols, '{}') AS venue_symbols, l.listed, l.delisted
FROM market.instruments i
LEFT JOIN LATERAL (
    SELECT jsonb_object_agg(venue, venue_symbol) AS venue_symbols, min(listed) AS listed,
           -- gone only where every venue has let it go
           CASE WHEN bool_and(delisted IS NOT NULL) THEN max(delisted) END AS delisted
    FROM market.listings WHERE instrument_id = i.instrument_id) l ON true
WHERE (i.active OR NOT %(active_only)s) AND (%(venue)s::text IS NULL OR i.venue IS NULL OR i.venue = %(venue)s)
ORDER BY i.instrument_id"""

_FRAME = """
SELECT i.symbol AS instrument, l.venue_symbol, l.listed, l.delisted, coalesce(l.status, 'trading') AS status,
       i.calendar, i.active, i.tier, i.asset_class, coalesce(l.first_bars, '{}')::text AS first_bars
FROM market.instruments i
LEFT JOIN market.listings l ON l.instrument_id = i.instrument_id AND l.venue = $1
WHERE NOT $2 OR i.venue IS NULL OR i.venue = $1
ORDER BY i.instrument_id"""

#: Instruments that are no longer collected and never had a bar or trade.
_WITHOUT_BARS = """
SELECT symbol, instrument_id, removed_at FROM market.instruments i
WHERE NOT active
  AND NOT EXISTS (SELECT FROM market.ohlc_data b WHERE b.instrument_id = i.instrument_id)
  AND NOT EXISTS (SELECT FROM market.coverage c WHERE c.instrument_id = i.instrument_id AND c.present > 0)
  AND NOT EXISTS (SELECT FROM market.trades t WHERE t.instrument_id = i.instrument_id)
ORDER BY symbol"""

_REFERRING = """
SELECT n.nspname, c.relname, a.attname
FROM pg_constraint f
JOIN pg_class c ON c.oid = f.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[1]
WHERE f.contype = 'f' AND f.confrelid = 'market.instruments'::regclass AND f.conparentid = 0
ORDER BY 1, 2"""


class Instruments:
    """Reads and writes ``market.instruments`` and ``market.listings``."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def add(self, instruments: Iterable[Instrument]) -> list[str]:
        """Collect these instruments from now on; return the new symbols. Collected ones stay unchanged."""
        wanted = sorted(instruments, key=lambda each: each.symbol)  # in key order, so that two callers never deadlock

        from crypto_pipeline.store.schema import instrument_statements as statements

        def write(connection: sqlalchemy.Connection) -> list[str]:
            added = []
            for each in wanted:
                if connection.execute(statements.add(_instrument_values(each))).scalar() is None:
                    continue
                added.append(each.symbol)
                for venue, name in each.venue_symbols.items():
                    listing = ListingRow(each.symbol, name, each.listed, each.delisted)
                    connection.execute(statements.put_listing(), _listing_values(venue, listing))
            return added

        return self._connections.run_core(write)

    def assign_venue(self, venue: str) -> int:
        """Make ``venue`` the one of instruments that were stored without a venue; returns how many there were."""
        from crypto_pipeline.store.schema import instrument_statements as statements

        return self._connections.run_core(lambda connection: connection.execute(statements.assign(venue)).rowcount)

    def remove(self, symbol: str) -> None:
        """Stop collecting an instrument. Its data is kept, and adding it again continues where it stopped.

        ``forget`` deletes an instrument that never had a bar. Raises StoreError for an unknown symbol.
        """
        from crypto_pipeline.store.schema import instrument_statements as statements

        if (
            self._connections.run_core(lambda connection: connection.execute(statements.remove(symbol)).scalar())
            is None
        ):
            raise self._unknown([symbol])

    def without_bars(self) -> dict[str, datetime]:
        """Instruments that are no longer collected and never had a bar or trade, with the time of removal (UTC)."""
        rows = self._connections.run(lambda connection: connection.execute(_WITHOUT_BARS).fetchall())
        return {symbol: removed_at for symbol, _, removed_at in rows}

    def forget(self, symbols: Iterable[str]) -> Names:
        """Delete all rows of those instruments that are `without_bars`; return their names.

        Call it only when no run is active that began before the removal, because its writes need the instrument.
        """
        asked = set(symbols)

        def write(connection: Connection) -> Names:
            rows = connection.execute(_WITHOUT_BARS + " FOR UPDATE").fetchall()
            gone = {symbol: number for symbol, number, _ in rows if symbol in asked}
            if not gone:
                return []
            ids = list(gone.values())
            for schema, table, column in connection.execute(_REFERRING).fetchall():
                delete = sql.SQL("DELETE FROM {} WHERE {} = ANY(%s)")
                connection.execute(delete.format(sql.Identifier(schema, table), sql.Identifier(column)), [ids])
            connection.execute("DELETE FROM market.instruments WHERE instrument_id = ANY(%s)", [ids])
            return list(gone)

        return self._connections.run(write)

    def list(self, active_only: bool = True, *, venue: str | None = None) -> list[InstrumentRow]:
        """Stored instruments in the order of their addition; with ``venue`` only those of this venue.

        An instrument that an earlier version stored without a venue counts for every venue.
        """

        def read(connection: Connection) -> list[InstrumentRow]:
            with connection.cursor(row_factory=dict_row) as cursor:
                return [_row(row) for row in cursor.execute(_ROWS, {"active_only": active_only, "venue": venue})]

        return self._connections.run(read)

    def ids(self) -> dict[str, int]:
        """Ids of all symbols, including inactive ones."""

        def read(connection: Connection) -> dict[str, int]:
            return dict(connection.execute("SELECT symbol, instrument_id FROM market.instruments").fetchall())

        return self._connections.run(read)

    def venues(self, default: str) -> set[str]:
        """The venues of active instruments; ``default`` for those that an earlier version stored without one."""

        def read(connection: Connection) -> set[str]:
            rows = connection.execute("SELECT DISTINCT venue FROM market.instruments WHERE active").fetchall()
            return {venue or default for (venue,) in rows}

        return self._connections.run(read)

    def frame(self, venue: str, *, own: bool = False) -> pl.DataFrame:
        """All instruments with this venue's listing: ``instrument``, ``venue_symbol``, ``listed``, ``delisted``,
        ``status``, ``calendar``, ``active``, ``tier``, ``asset_class``, ``first_bars`` (JSON, see FirstBars).

        The venue's columns are null if it does not list the instrument. Times are UTC. ``own``: only instruments of
        this venue.
        """
        rows = self._connections.frame(_FRAME, [venue, own])
        return rows.with_columns(pl.col("listed", "delisted").cast(UTC_MS))

    def set_listings(self, venue: str, rows: Sequence[ListingRow]) -> int:
        """Store a venue's listings; return how many rows changed. A None does not replace a known value."""
        ordered = sorted(rows, key=lambda each: each.symbol)
        ids = self.ids()
        if unknown := [row.symbol for row in ordered if row.symbol not in ids]:
            raise self._unknown(unknown)

        from crypto_pipeline.store.schema import instrument_statements as statements

        def write(connection: sqlalchemy.Connection) -> int:
            values = [_listing_values(venue, row) for row in ordered]
            kept = {"preserve_rowcount": True}
            return max(connection.execute(statements.put_listing(), values, execution_options=kept).rowcount, 0)

        return self._connections.run_core(write) if ordered else 0

    def listings(self, venue: str) -> Listings:
        """The stored listings of the venue."""

        def read(connection: Connection) -> Listings:
            with connection.cursor(row_factory=dict_row) as cursor:
                cursor.execute(
                    "SELECT i.symbol, l.venue_symbol, l.listed, l.delisted, l.status, l.tick_size, l.lot_size, "
                    "l.first_bars "
                    "FROM market.listings l JOIN market.instruments i USING (instrument_id) "
                    "WHERE l.venue = %s ORDER BY i.instrument_id",
                    [venue],
                )
                return [_listing(row) for row in cursor]

        return self._connections.run(read)

    def _unknown(self, symbols: Sequence[str]) -> StoreError:
        some = ", ".join(symbols[:5]) + (f" and {len(symbols) - 5} more" if len(symbols) > 5 else "")
        return StoreError(
            f"unknown instrument {some}: see `crypto-pipeline instruments list`, or add it with "
            f"`crypto-pipeline instruments add {symbols[0]}`"
        )


def _instrument_values(instrument: Instrument) -> dict[str, Any]:
    return {
        "symbol": instrument.symbol,
        "venue": instrument.venue,
        "asset_class": str(instrument.asset_class),
        "base": instrument.base,
        "quote": instrument.quote,
        "tier": str(instrument.tier),
        "calendar": instrument.calendar,
        "tick_size": instrument.tick_size,
        "lot_size": instrument.lot_size,
    }


def _listing_values(venue: str, row: ListingRow) -> dict[str, Any]:
    return {
        "venue": venue,
        "symbol": row.symbol,
        "venue_symbol": row.venue_symbol,
        "listed": row.listed,
        "delisted": row.delisted,
        "status": str(row.status),
        "tick_size": row.tick_size,
        "lot_size": row.lot_size,
        "first_bars": {name: first.isoformat() for name, first in row.first_bars.items()},
    }


def _listing(row: dict[str, Any]) -> ListingRow:
    first_bars = {name: datetime.fromisoformat(first) for name, first in row.pop("first_bars").items()}
    return ListingRow(**row, first_bars=first_bars)


def _row(row: dict[str, Any]) -> InstrumentRow:
    number, active, added_at = row.pop("id"), row.pop("active"), row.pop("added_at")
    return InstrumentRow(number, Instrument(**row), active, added_at)
