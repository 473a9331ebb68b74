"""Trades in ``market.trades``: batches written by binary COPY, reads by time, and missing ids.

The key of a trade is (instrument, venue, id). The venue never changes its time, so storing it twice has no effect. If a
later answer of the venue (REST) differs from an earlier one (stream), ``restate`` applies what ids prove.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import psycopg
from psycopg import sql

from crypto_pipeline.market.bars import TRADE_SCHEMA, UTC_MS
from crypto_pipeline.market.trades.stated_trades import whole_spans
from crypto_pipeline.store.columns import copy_format
from crypto_pipeline.store.columns.bars import RANKS
from crypto_pipeline.store.columns.copy_format import PG_EPOCH_US
from crypto_pipeline.store.columns.trades import TRADE_LAYOUT, columns_from_events, columns_from_frame
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.frames import named, require_columns
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.sessions.pooler import create_temporary
from crypto_pipeline.store.database.values import RefusedRow
from crypto_pipeline.store.partitions.trades import drop_before, ensure_day
from crypto_pipeline.store.trades import sql as trades_sql
from crypto_pipeline.store.trades.refused import KEEP_DOUBTED, TradesApart

if TYPE_CHECKING:
    from crypto_pipeline.market.trades.live_trade import LiveTrade

Array = npt.NDArray[Any]

_DAY_MS = 86_400_000
#: Seconds for which a day's partition is assumed to exist after a check.
_SURE_SECONDS = 60.0
_NO_LIMIT = (1 << 63) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_COLUMNS = sql.SQL(", ").join(map(sql.Identifier, copy_format.names(TRADE_LAYOUT)))

_MERGE = sql.SQL(
    "INSERT INTO market.trades ({0}) SELECT {0} FROM pg_temp.arrived_trades "
    'ORDER BY instrument_id, "time", trade_id ON CONFLICT DO NOTHING'
).format(_COLUMNS)


@dataclass(frozen=True, slots=True)
class LastTrade:
    """The newest stored trade of an instrument; ``last_id`` is the id of its last individual trade."""

    trade_id: int
    last_id: int
    time: datetime


class Restatement(NamedTuple):
    """Number of new trades, of removed stored trades, and of stored trades that stayed though the answer lacks them."""

    added: int
    removed: int
    contradicted: int


class Trades:
    """Writes and reads ``market.trades``. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols
        self.apart = TradesApart(connections, symbols)
        self._days: dict[int, float] = {}
        self._venues: dict[str, int] = {}

    # -- writing --------------------------------------------------------------------------------------------------

    def write(self, venue: str, frame: pl.DataFrame) -> int:
        """Store trades (TRADE_SCHEMA); stored ones are skipped. Return the number of new trades."""
        return self.write_columns(venue, self.columns(frame))

    def write_columns(self, venue: str, columns: Mapping[str, Array]) -> int:
        """Store trades in the form of ``columns``; otherwise as ``write``."""
        prepared = self.prepare(venue, columns)
        return self._connections.run(store_trades, prepared)

    def prepare(self, venue: str, columns: Mapping[str, Array]) -> dict[str, Array]:
        """The columns in the form that ``store_trades`` takes; makes missing partitions."""
        rows = len(columns["trade_id"])
        number = self.venue_id(venue)
        time_us = columns["time"]
        self._ensure_days(np.unique((time_us + PG_EPOCH_US) // (_DAY_MS * 1000)).tolist())
        return dict(columns) | {"venue_id": np.full(rows, number, np.int16)}

    def columns(self, frame: pl.DataFrame) -> dict[str, Array]:
        """The columns of a TRADE_SCHEMA frame: instrument ids, times in microseconds since PostgreSQL's epoch."""
        require_columns(frame, list(TRADE_SCHEMA), "a frame of trades")
        return columns_from_frame(frame, self._symbols.ids(frame["instrument"].unique().to_list()))

    def columns_from_events(self, trades: Sequence[LiveTrade]) -> dict[str, Array]:
        """The same columns from stream events."""
        return columns_from_events(trades, self._symbols.ids({trade.instrument for trade in trades}))

    def restate(
        self,
        venue: str,
        instrument: str,
        start: datetime,
        end: datetime,
        frame: pl.DataFrame,
        *,
        id_before: int | None = None,
        id_after: int | None = None,
        final: datetime | None = None,
        also: Sequence[int] = (),
    ) -> Restatement:
        """Apply ``frame``, the venue's trades of ``[start, end)`` with the ids before and after it.

        A stored trade is replaced if the venue sends other values for its id. It is removed if ids prove that only the
        sent trades happened at its time, or if its id is in ``also`` (proven false elsewhere; it is searched within
        a day of the span). A stored trade that is only absent from the answer stays, and is recorded as
        contradicted if it is older than ``final``, up to which the answer is complete. Replaced and removed trades
        are kept in ``market.trades_apart``.
        """
        prepared = self.prepare(venue, self.columns(frame))
        number = self._symbols.ids([instrument])[instrument]
        ordered = frame.sort("trade_id")
        ids, times = ordered["trade_id"].to_list(), ordered["time"].cast(UTC_MS).to_physical().to_list()
        whole = whole_spans(ids, times, _ms(start), _ms(end), id_before, id_after)
        values = {
            "instrument": number,
            "venue": self.venue_id(venue),
            "start": start,
            "end": end,
            "after": [_moment(after) for after, _ in whole],
            "before": [_moment(before) for _, before in whole],
            "also": list(also),
            "upto": _NO_LIMIT if id_after is not None or not ids else ids[-1],
            "final": final if final is not None else end,
            "ids": [*also, *ids],
            "near": start - timedelta(days=1),
            "far": end + timedelta(days=1),
        }

        return self._connections.run(_settle, prepared, values)

    def refuse(self, venue: str, instrument: str, rows: Sequence[RefusedRow]) -> int:
        """Record invalid trades of the venue. Return the number of trades."""
        return self.apart.refuse(self.venue_id(venue), instrument, rows)

    def drop_before(self, day: date) -> list[date]:
        """Drop the partitions of days before ``day`` (UTC); return these days."""

        dropped = self._connections.run(drop_before, day)
        self.apart.forget_before(day)
        self._days.clear()
        return dropped

    # -- reading --------------------------------------------------------------------------------------------------

    def read(self, venue: str, instruments: Sequence[str], start: datetime, end: datetime) -> pl.DataFrame:
        """Stored trades of ``[start, end)`` in TRADE_SCHEMA, sorted by instrument (as given) and id."""
        ids = self._symbols.ids(instruments)
        answer = self._connections.frame(trades_sql.READ, [list(ids.values()), self.venue_id(venue), start, end])
        places = {number: place for place, number in enumerate(ids.values())}
        order = pl.col("instrument_id").replace_strict(places, return_dtype=pl.Int32)
        side = pl.when("taker_buy").then(pl.lit("buy")).otherwise(pl.lit("sell")).alias("taker_side")
        rows = named(answer.sort(order, "trade_id").with_columns(side), ids)
        return rows.select(pl.col(name).cast(dtype) for name, dtype in TRADE_SCHEMA.items())

    def last_ids(self, venue: str, instruments: Sequence[str]) -> dict[str, LastTrade]:
        """The newest stored trade of each instrument with trades."""
        ids = self._symbols.ids(instruments)
        answer = named(self._connections.frame(trades_sql.LAST, [list(ids.values()), self.venue_id(venue)]), ids)
        rows = answer.with_columns(pl.col("time").cast(UTC_MS)).iter_rows()
        return {name: LastTrade(trade_id, last_id, time) for name, trade_id, last_id, time in rows}

    def first_times(self, venue: str, instruments: Sequence[str], start: datetime) -> dict[str, datetime]:
        """Time (UTC) of the oldest stored trade from ``start`` on, for each instrument with such a trade."""
        ids = self._symbols.ids(instruments)
        answer = named(
            self._connections.frame(trades_sql.FIRST, [list(ids.values()), self.venue_id(venue), start]), ids
        )
        return dict(answer.with_columns(pl.col("time").cast(UTC_MS)).iter_rows())

    def missing(self, venue: str, instruments: Sequence[str], start: datetime, end: datetime) -> pl.DataFrame:
        """Absent ids between stored trades of ``[start, end)``: ``instrument``, ``first_missing``,
        ``last_missing``, and the times of the adjacent trades, ``start`` and ``end``.
        """
        ids = self._symbols.ids(instruments)
        answer = self._connections.frame(trades_sql.MISSING, [list(ids.values()), self.venue_id(venue), start, end])
        return named(answer, ids).with_columns(pl.col("start", "end").cast(UTC_MS))

    def differing(self, venue: str, instruments: Sequence[str], start: datetime, end: datetime) -> pl.DataFrame:
        """Minutes of ``[start, end)`` whose stored trades do not match their stored bar.

        Columns ``instrument``, ``open_time``, ``back_to`` (the same minute, or an earlier one if an id is absent
        between its trades and the next ones; that minute is in the frame too, even before ``start``), and
        ``source`` of the bar (null: there is none). Only for venues whose ids are contiguous.
        """
        ids = self._symbols.ids(instruments)
        answer = self._connections.frame(trades_sql.DIFFERING, [list(ids.values()), self.venue_id(venue), start, end])
        source = (
            pl.col("source_rank")
            .replace_strict({rank: name for name, rank in RANKS.items()}, return_dtype=pl.String)
            .alias("source")
        )
        return named(answer, ids).select("instrument", pl.col("open_time", "back_to").cast(UTC_MS), source)

    def venue_id(self, venue: str) -> int:
        """The id of a venue; it is assigned at the first call."""
        if venue not in self._venues:

            def work(connection: psycopg.Connection[Any]) -> int:
                connection.execute("INSERT INTO market.venues (name) VALUES (%s) ON CONFLICT DO NOTHING", [venue])
                row = connection.execute("SELECT venue_id FROM market.venues WHERE name = %s", [venue]).fetchone()
                assert row is not None
                return int(row[0])

            self._venues[venue] = self._connections.run(work)
        return self._venues[venue]

    # -- days -----------------------------------------------------------------------------------------------------

    def _ensure_days(self, days: Sequence[int]) -> None:
        for day in days:
            # only for a while, because retention in another process may drop a day
            if time.monotonic() > self._days.get(day, -_SURE_SECONDS) + _SURE_SECONDS:
                if not 0 <= day < 80_000:
                    raise StoreError(
                        f"a trade has a time {day} days after 1970: it is in another unit than milliseconds"
                    )
                self._connections.run(ensure_day, day)
                self._days[day] = time.monotonic()


def store_trades(connection: psycopg.Connection[Any], columns: Mapping[str, Array]) -> int:
    """Write prepared columns in the caller's transaction. Return the number of new trades."""
    rows = len(columns["trade_id"])
    if not rows:
        return 0
    try:
        with connection.transaction():
            _copy(connection, sql.SQL("market.trades"), columns)
        return rows
    except psycopg.errors.UniqueViolation:  # some are stored already, which is rare and slower
        _stage(connection, columns)
        added = connection.execute(_MERGE).rowcount
        connection.execute("TRUNCATE pg_temp.arrived_trades")
        return added


def _settle(
    connection: psycopg.Connection[Any], prepared: Mapping[str, Array], values: Mapping[str, Any]
) -> Restatement:
    """Store the prepared trades of a span, and remove or mark the stored trades that they contradict."""
    _stage(connection, prepared)
    create_temporary(connection, trades_sql.DOUBT)
    doubted = connection.execute(trades_sql.FIND_DOUBTED, values).rowcount
    removed = contradicted = 0
    if doubted:
        connection.execute(trades_sql.LEAVE_NEWER, values)
        connection.execute(KEEP_DOUBTED)
        removed = connection.execute(trades_sql.REMOVE).rowcount
        row = connection.execute(trades_sql.CONTRADICTED).fetchone()
        contradicted = int(row[0]) if row is not None else 0
    added = connection.execute(_MERGE).rowcount
    connection.execute("TRUNCATE pg_temp.arrived_trades, pg_temp.doubted_trades")
    return Restatement(added, removed, contradicted)


def _stage(connection: psycopg.Connection[Any], columns: Mapping[str, Array]) -> None:
    create_temporary(connection, trades_sql.TEMPORARY)
    _copy(connection, sql.SQL("pg_temp.arrived_trades"), columns)


def _copy(connection: psycopg.Connection[Any], table: sql.Composable, columns: Mapping[str, Array]) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(table, _COLUMNS)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(copy_format.HEADER)
        copy.write(copy_format.encode(TRADE_LAYOUT, columns).data)
        copy.write(copy_format.TRAILER)


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _moment(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)
