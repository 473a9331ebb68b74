"""Features in the database: whole days written by binary COPY, live rows after each bar, and reads.

A day of an instrument is a cell. Its rows are replaced as a whole in one transaction, together with the data versions
from which they were computed (``feature_cells``), so a killed job leaves each cell either unchanged or complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy.typing as npt
import polars as pl
import psycopg
from psycopg import sql

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import require_utc
from crypto_pipeline.store.columns import copy_format
from crypto_pipeline.store.columns.copy_format import PG_EPOCH_US, Field
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.frames import named, numbered, require_columns
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.sessions.pooler import create_temporary
from crypto_pipeline.store.research import feature_cells, feature_retention
from crypto_pipeline.store.research.feature_cells import FeatureCells

_SCHEMA = "research"
_TABLE, _LIVE = "ml_features", "ml_features_live"
#: Number of rows that are encoded at once.
_PIECE = 10_000
_LOCK_SPACE = 0x66656174  # "feat"
_TYPES = {pl.Float64: "float8", pl.Int32: "int4", pl.Int16: "int2", pl.Boolean: "bool"}

_DELETE = """
DELETE FROM research.ml_features f
USING unnest(%(instruments)s::int[], %(days)s::date[]) AS u (i, d)
WHERE f.instrument_id = u.i AND f.open_time >= u.d::timestamp AT TIME ZONE 'UTC'
  AND f.open_time < least((u.d + 1)::timestamp AT TIME ZONE 'UTC', %(until)s)
"""
_MISSING = """
SELECT b.instrument_id, b.open_time FROM market.ohlc_data b
WHERE b.instrument_id = ANY($1) AND b.timeframe = '15m' AND b.open_time >= $2 AND b.open_time < $3
  AND NOT EXISTS (
    SELECT FROM research.ml_features f WHERE f.instrument_id = b.instrument_id AND f.open_time = b.open_time
  )
"""
_OPEN_CELLS = """
UPDATE research.feature_cells c SET computed_from = NULL, schema_hash = %(schema)s, computed_at = now(),
    feature_version = nextval('research.feature_version'), rows = c.rows + u.rows
FROM unnest(%(instruments)s::int[], %(days)s::date[], %(rows)s::int[]) AS u (i, d, rows)
WHERE c.instrument_id = u.i AND c.day = u.d
"""
_DRIFT = """
INSERT INTO research.feature_drift (feature, day, psi, threshold, drifted) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (feature, day) DO UPDATE
SET psi = excluded.psi, threshold = excluded.threshold, drifted = excluded.drifted, checked_at = now()
"""


@fork_safety.with_parts
class Features:
    """Writes and reads ``research.ml_features``. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    @cached_property
    def cells(self) -> FeatureCells:
        """The cells: the data versions from which each day was computed."""
        return FeatureCells(self._connections, self._symbols)

    @cached_property
    def columns(self) -> list[str]:
        """Columns of the table, in the table's order."""
        answer = self._connections.frame(
            "SELECT attname::text AS name FROM pg_attribute "
            "WHERE attrelid = 'research.ml_features'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
        return answer["name"].to_list()

    def write(self, rows: pl.DataFrame, cells: pl.DataFrame, schema_hash: str, until: datetime) -> int:
        """Replace the features of ``cells`` (from ``cells.stale``) whose bars opened before ``until`` (UTC).

        ``rows`` has all columns of the table, with ``instrument`` instead of its number; all must be in the cells.
        A cell that another process has written meanwhile from the same or newer bars is skipped. One transaction;
        returns the number of rows written.
        """
        columns = ["instrument", "day", "computed_from", "stored_from", "stored_schema"]
        require_columns(cells, columns, "a frame of feature cells")
        ids = self._symbols.ids(cells["instrument"].unique().to_list())
        chosen = numbered(cells.select(columns), ids).sort("instrument_id", "day")
        table = self._conform(rows, ids)
        for month in table["open_time"].dt.truncate("1mo").dt.date().unique().sort():
            self._connections.run(_ensure_month, month)

        def work(connection: psycopg.Connection[Any]) -> int:
            held = feature_cells.lock(connection, chosen)
            # If two passes computed the same cell, the one with newer bars is kept, in any order of writing.
            untouched = pl.col("held_from").eq_missing(pl.col("stored_from")) & (
                pl.col("held_schema") == pl.col("stored_schema")
            )
            newer = pl.col("held_from").is_null() | (pl.col("held_from") < pl.col("computed_from"))
            wanted = chosen.join(held, on=["instrument_id", "day"], maintain_order="left").filter(untouched | newer)
            if wanted.is_empty():
                return 0
            fresh = table
            if len(wanted) < len(chosen):
                day = pl.col("open_time").dt.date().alias("day")
                fresh = table.join(
                    wanted, left_on=["instrument_id", day], right_on=["instrument_id", "day"], how="semi"
                )
            before = wanted.filter((pl.col("rows") > 0) | (pl.col("held_schema") != ""))
            if len(before):
                where = {"instruments": before["instrument_id"].to_list(), "days": before["day"].to_list()}
                connection.execute(_DELETE, where | {"until": until})
            _copy(connection, _TABLE, fresh)
            feature_cells.update(connection, wanted, schema_hash)
            return len(fresh)

        return self._connections.run(work)

    def missing(self, instruments: Sequence[str], start: datetime, end: datetime) -> pl.DataFrame:
        """15m bars of ``[start, end)`` without features: ``instrument``, ``open_time``."""
        ids = self._symbols.ids(instruments)
        answer = self._connections.frame(_MISSING, [list(ids.values()), require_utc(start), require_utc(end)])
        return named(answer, ids).with_columns(pl.col("open_time").cast(UTC_MS)).sort("instrument", "open_time")

    def append(self, rows: pl.DataFrame, schema_hash: str, known_at: datetime) -> int:
        """Add rows that the live path computed from bars known at ``known_at`` (UTC), for days that are not
        computed yet.

        Existing rows stay. Returns the number of added rows.
        """
        if rows.is_empty():
            return 0
        ids = self._symbols.ids(rows["instrument"].unique().to_list())
        table = self._conform(rows, ids)
        for month in table["open_time"].dt.truncate("1mo").dt.date().unique().sort():
            self._connections.run(_ensure_month, month)
        return self._connections.run(_append, table, schema_hash, require_utc(known_at))

    def read(
        self,
        instruments: Sequence[str],
        start: datetime,
        end: datetime,
        columns: Sequence[str] | None = None,
        *,
        live: bool = False,
        hourly: bool = False,
    ) -> pl.DataFrame:
        """Stored rows with open time in ``[start, end)``: ``instrument`` and ``columns`` (default: all), sorted.

        ``live`` reads the rows that the live path wrote at the time, with ``known_at``; ``hourly`` reads only the
        rows of full hours. Raises StoreError for an unknown column.
        """
        ids = self._symbols.ids(instruments)
        known = [*self.columns, "known_at"] if live else self.columns
        wanted = [name for name in known if name != "instrument_id"] if columns is None else list(columns)
        if unknown := [name for name in wanted if name not in known]:
            raise StoreError(f"unknown column {unknown[0]!r} of features: use some of {', '.join(known)}")
        names = list(dict.fromkeys(["open_time", *wanted]))
        quoted = ", ".join(f'"{name}"' for name in names)
        query = (
            f"SELECT instrument_id, {quoted} FROM {_SCHEMA}.{_LIVE if live else _TABLE} "  # noqa: S608  (checked above)
            "WHERE instrument_id = ANY($1) AND open_time >= $2 AND open_time < $3"
            + (" AND extract(minute FROM open_time) = 0" if hourly else "")
        )
        answer = self._connections.frame(query, [list(ids.values()), require_utc(start), require_utc(end)])
        times = [pl.col(name).cast(UTC_MS) for name in ("open_time", "available_at") if name in names]
        return named(answer, ids).with_columns(times).sort("instrument", "open_time")

    def rows_at(self, instruments: Sequence[str], open_time: datetime, columns: Sequence[str]) -> dict[str, list[Any]]:
        """The values of ``columns`` of the rows that opened at ``open_time``, by instrument; those without a row are
        left out. For few rows: one short query. ``columns`` are trusted: names of features and states.
        """
        ids = self._symbols.ids(instruments)
        quoted = ", ".join(f'"{name}"' for name in columns)
        query = (
            f"SELECT instrument_id, {quoted} FROM {_SCHEMA}.{_TABLE} WHERE instrument_id = ANY(%s) AND open_time = %s"  # noqa: S608
        )
        rows = self._connections.rows(query, [list(ids.values()), require_utc(open_time)])
        names = {number: name for name, number in ids.items()}
        return {names[row[0]]: list(row[1:]) for row in rows}

    def clock(self) -> datetime:
        """The database's time (UTC); reads with this ``as_of`` see what is committed by now."""
        answer = self._connections.frame("SELECT clock_timestamp() AS now")
        moment: datetime = answer["now"][0]
        return moment

    def forget_live(self, before: datetime) -> int:
        """Delete rows of the live path for bars that opened before ``before``; return the number of rows."""
        query = "DELETE FROM research.ml_features_live WHERE open_time < %s"
        return self._connections.run(lambda connection: connection.execute(query, [require_utc(before)]).rowcount)

    def forget(self, before: date) -> list[date]:
        """Drop the features of whole months that ended before the day ``before``; return their first days."""
        return feature_retention.forget(self._connections, before)

    def record_drift(self, found: pl.DataFrame) -> None:
        """Store a day's drift (``feature``, ``day``, ``psi``, ``threshold``, ``drifted``); a later result replaces
        it.
        """
        require_columns(found, ["feature", "day", "psi", "threshold", "drifted"], "a frame of drift")
        rows = found.select("feature", "day", "psi", "threshold", "drifted").rows()

        def work(connection: psycopg.Connection[Any]) -> None:
            connection.cursor().executemany(_DRIFT, rows)

        self._connections.run(work)

    def _conform(self, rows: pl.DataFrame, ids: dict[str, int]) -> pl.DataFrame:
        """The rows with the table's columns and types. Raises StoreError for a column that table or frame lacks."""
        table = numbered(rows, ids)
        if unknown := sorted(set(table.columns) ^ set(self.columns)):
            raise StoreError(f"features and table differ in the column {unknown[0]!r}: apply the migrations, restart")
        small = [name for name in ("regime", "stress") if name in table.columns]
        return table.select(self.columns).with_columns(pl.col(small).cast(pl.Int16)).sort("instrument_id", "open_time")


def _copy(connection: psycopg.Connection[Any], table: str, rows: pl.DataFrame, schema: str = _SCHEMA) -> None:
    """Write all rows by binary COPY; nulls become NULL."""
    layout = tuple(Field(name, _type(dtype)) for name, dtype in rows.schema.items())
    names = sql.SQL(", ").join(map(sql.Identifier, rows.columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(schema, table), names)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(copy_format.HEADER)
        for piece in rows.iter_slices(_PIECE):
            nulls = {one.name: one.is_null().to_numpy() for one in piece.get_columns() if one.null_count()}
            columns = {one.name: _values(one) for one in piece.get_columns()}
            copy.write(copy_format.encode(layout, columns, nulls).data)
        copy.write(copy_format.TRAILER)


def _type(dtype: pl.DataType) -> str:
    return "timestamptz" if isinstance(dtype, pl.Datetime) else _TYPES[type(dtype)]


def _values(column: pl.Series) -> npt.NDArray[Any]:
    if isinstance(column.dtype, pl.Datetime):
        micros: npt.NDArray[Any] = column.dt.cast_time_unit("us").to_physical().to_numpy()
        return micros - PG_EPOCH_US
    if column.null_count():
        column = column.fill_null(False if column.dtype == pl.Boolean else 0)
    return column.to_numpy()


def _ensure_month(connection: psycopg.Connection[Any], month: date) -> None:
    """Make the partition of a month unless it exists. Several processes may call it at once."""
    name = f"{_TABLE}_{month:%Y_%m}"
    query = f"SELECT FROM pg_class WHERE relname = %s AND relnamespace = '{_SCHEMA}'::regnamespace"
    if connection.execute(query, [name]).fetchone() is not None:
        return
    connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK_SPACE, month.year * 12 + month.month])
    if connection.execute(query, [name]).fetchone() is not None:
        return
    apart, parent = sql.Identifier(_SCHEMA, name), sql.Identifier(_SCHEMA, _TABLE)
    following = (month + timedelta(days=32)).replace(day=1)
    bounds = [sql.Literal(datetime(one.year, one.month, 1, tzinfo=UTC).isoformat()) for one in (month, following)]
    connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS)").format(apart, parent))
    connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (instrument_id, open_time)").format(apart))
    connection.execute(
        sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(parent, apart, *bounds)
    )


def _append(connection: psycopg.Connection[Any], table: pl.DataFrame, schema_hash: str, known_at: datetime) -> int:
    """Add the rows that do not exist yet; return how many."""
    day = pl.col("open_time").dt.date().alias("day")
    feature_cells.lock(connection, table.select("instrument_id", day).unique().sort("instrument_id", "day"))
    there = connection.execute(
        "SELECT f.instrument_id, f.open_time FROM unnest(%s::int[], %s::timestamptz[]) AS u (i, t) "
        "JOIN research.ml_features f ON f.instrument_id = u.i AND f.open_time = u.t",
        [table["instrument_id"].to_list(), table["open_time"].to_list()],
    ).fetchall()
    known = pl.DataFrame(there, schema={"instrument_id": pl.Int32, "open_time": UTC_MS}, orient="row")
    fresh = table.join(known, on=["instrument_id", "open_time"], how="anti", maintain_order="left")
    if fresh.is_empty():
        return 0
    _copy(connection, _TABLE, fresh)
    create_temporary(
        connection, "CREATE TEMP TABLE IF NOT EXISTS live_rows (LIKE research.ml_features_live) ON COMMIT {end}"
    )
    stamped = fresh.with_columns(pl.lit(known_at).cast(pl.Datetime("us", "UTC")).alias("known_at"))
    _copy(connection, "live_rows", stamped, "pg_temp")
    connection.execute("INSERT INTO research.ml_features_live SELECT * FROM pg_temp.live_rows ON CONFLICT DO NOTHING")
    counts = fresh.group_by("instrument_id", day).len().sort("instrument_id", "day")
    connection.execute(
        _OPEN_CELLS,
        {
            "instruments": counts["instrument_id"].to_list(),
            "days": counts["day"].to_list(),
            "rows": counts["len"].to_list(),
            "schema": schema_hash,
        },
    )
    return len(fresh)
