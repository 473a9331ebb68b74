"""Proof that a table has the rows that are counted elsewhere.

Bars are compared with coverage, features and labels with their cells, days of trades with the live bars made from them,
and every table with its own index: a truncated file has fewer rows than its index has entries. Rows are counted by
reading the whole table, because an index may have entries of lost rows.
"""

# ruff: noqa: S608  (queries are put together from constants; values are parameters)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.coverage.cell_locks import EXPLAINING
from crypto_pipeline.store.partitions.bars import MONTHLY

#: Tolerance between the time of a live bar and its last stored trade.
_SETTLED = timedelta(minutes=15)
#: Up to this many minutes of a day without trades are no fault here: ingest repairs single minutes.
_FEW_MINUTES = 3

_LEAVES = """
SELECT n.nspname || '.' || c.relname, greatest(c.reltuples, 0)::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname IN ('market', 'ops', 'research', 'trading')
  AND (c.relispartition OR c.relname !~ '__(leaving|coming)')
ORDER BY 1
"""

# Rows that must be in the table: instrument, day, rows. `present` counts bars in the table and in the archive.
_BARS = """
SELECT instrument_id, day, present - archived AS rows FROM market.coverage
WHERE timeframe = %(timeframe)s AND day >= %(first)s AND day < %(until)s AND present > archived
"""
_FEATURES = """
SELECT instrument_id, day, rows FROM research.feature_cells WHERE day >= %(first)s AND day < %(until)s AND rows > 0
"""
_LABELS = """
SELECT instrument_id, day, sum(labels)::int AS rows FROM research.label_cells
WHERE lower(strategy) = %(strategy)s AND labels > 0 GROUP BY 1, 2
"""
_COMPARE = """
WITH there AS (
    SELECT instrument_id, ({time} AT TIME ZONE 'UTC')::date AS day, count(*)::int AS rows FROM {table} GROUP BY 1, 2
), wanted AS ({wanted}), joined AS (
    SELECT instrument_id, day, coalesce(t.rows, 0) AS found, coalesce(w.rows, 0) AS wanted
    FROM there t FULL JOIN wanted w USING (instrument_id, day)
)
SELECT coalesce(sum(found), 0)::bigint, coalesce(sum(wanted), 0)::bigint,
       count(*) FILTER (WHERE found <> wanted),
       (SELECT i.symbol || ' on ' || j.day || ' (' || j.found || ' of ' || j.wanted || ')'
        FROM joined j JOIN market.instruments i USING (instrument_id)
        WHERE j.found <> j.wanted ORDER BY j.day, i.symbol LIMIT 1)
FROM joined
"""

_HAS_INDEX = """
SELECT EXISTS (
    SELECT FROM pg_index WHERE indrelid = %s::regclass AND indisvalid AND indpred IS NULL AND indexprs IS NULL)
"""

# Months with counted rows but without a partition.
_NO_PARTITION = f"""
SELECT name, rows FROM (
    SELECT 'market.ohlc_' || timeframe || to_char(day, '_YYYY_MM') AS name, sum(present - archived)::bigint AS rows
    FROM market.coverage WHERE timeframe = ANY(ARRAY{sorted(map(str, MONTHLY))}) AND present > archived GROUP BY 1
    UNION ALL
    SELECT 'research.ml_features' || to_char(day, '_YYYY_MM'), sum(rows)::bigint
    FROM research.feature_cells WHERE rows > 0 GROUP BY 1
) AS counted
WHERE name NOT IN (
    SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relispartition AND c.relkind = 'r')
ORDER BY 1
"""

# Bars that are only in the archive according to coverage, and the number of bars in the files of their month.
_ARCHIVED = """
SELECT c.timeframe, c.month, c.archived, coalesce(f.rows, 0)
FROM (
    SELECT timeframe, date_trunc('month', day)::date AS month, sum(archived)::bigint AS archived
    FROM market.coverage WHERE archived > 0 GROUP BY 1, 2
) AS c
LEFT JOIN market.archive_files f
    ON f.status = 'current' AND f.kind = 'bars' AND f.timeframe = c.timeframe
    AND (f.first_open AT TIME ZONE 'UTC')::date = c.month
WHERE c.archived > coalesce(f.rows, 0)
ORDER BY 1, 2
"""

_UNEXPLAINED = """
SELECT count(*), min(i.symbol || ' ' || c.timeframe || ' on ' || c.day)
FROM market.coverage c JOIN market.instruments i USING (instrument_id)
CROSS JOIN LATERAL (
    SELECT c.day::timestamp AT TIME ZONE 'UTC' AS since,
           (c.day + CASE c.timeframe WHEN '1w' THEN 7 ELSE 1 END)::timestamp AT TIME ZONE 'UTC' AS until
) AS cell
WHERE c.explained > 0 AND NOT EXISTS (
    SELECT FROM market.gaps g
    WHERE g.instrument_id = c.instrument_id AND g.timeframe = c.timeframe AND g.closed_at IS NULL
      AND g.state = ANY(%s) AND tstzrange(g.start_time, g.end_time) && tstzrange(cell.since, cell.until))
"""

# Days with complete live bars, and the number of these bars without a trade in their minute.
_LIVE_DAYS = """
SELECT d::date, EXISTS (
    SELECT FROM pg_class c WHERE c.relnamespace = 'market'::regnamespace AND c.relispartition
      AND c.relname = 'trades_' || to_char(d, 'YYYY_MM_DD'))
FROM generate_series(%(first)s::timestamp, %(last)s::timestamp, interval '1 day') AS d
WHERE NOT EXISTS (SELECT FROM market.trade_days_removed r WHERE r.day = d::date)
ORDER BY 1
"""
_LIVE_BARS = """
FROM market.ohlc_data b JOIN market.instruments i USING (instrument_id)
WHERE b.timeframe = '1m' AND b.open_time >= %(start)s AND b.open_time < %(end)s AND b.source_rank = 40 AND b.complete
  AND b.volume > 0
"""
_TRADELESS = f"""
SELECT count(*), min(i.symbol || ' at ' || to_char(b.open_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))
{_LIVE_BARS} AND NOT EXISTS (
    SELECT FROM market.trades t WHERE t.instrument_id = b.instrument_id
      AND t."time" >= b.open_time AND t."time" < b.open_time + interval '1 minute')
"""
_OF_LIVE = f"SELECT count(*) {_LIVE_BARS}"

_BY_ROWS = "SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off"
_BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = on"
_AS_USUAL = "SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = on"
#: Errors of a table or index with a damaged file.
_DAMAGED = (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted, psycopg.errors.IoError,
            psycopg.errors.UndefinedFile, psycopg.errors.InternalError_)  # fmt: skip

_FAR = (date(1, 1, 1), date(9999, 12, 31))


@dataclass(frozen=True, slots=True)
class Proven:
    """Result for one table: its number of rows, and its fault in words (None: no fault)."""

    table: str
    rows: int
    fault: str | None


def tables(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """All our tables with rows, as ``schema.table``, with their estimated number of rows."""
    return dict(connection.execute(_LEAVES).fetchall())


def prove(connection: psycopg.Connection[Any], table: str) -> Proven:
    """Count the rows of one table and compare with the counts kept elsewhere, in the caller's snapshot."""
    try:
        with connection.transaction():
            connection.execute(_BY_ROWS + "; SET LOCAL enable_bitmapscan = off")
            rows, fault = _held_against_counts(connection, table)
        if fault is None:
            with connection.transaction():
                fault = _held_against_index(connection, table, rows)
    except _DAMAGED as error:
        return Proven(table, 0, f"{table} cannot be read: {str(error).splitlines()[0]}")
    finally:
        connection.execute(_AS_USUAL + "; SET LOCAL enable_bitmapscan = on")
    return Proven(table, rows, fault)


def absent(connection: psycopg.Connection[Any]) -> list[str]:
    """Tables, archive files and ledger rows that are absent although coverage counts them."""
    found = [
        f"{name} is missing, though {rows:,} of its rows are counted"
        for name, rows in connection.execute(_NO_PARTITION).fetchall()
    ]
    found += [
        f"the archive's catalogue has {rows:,} bars of {timeframe} in {month:%Y-%m}, but {archived:,} are counted"
        for timeframe, month, archived, rows in connection.execute(_ARCHIVED).fetchall()
    ]
    row = connection.execute(_UNEXPLAINED, [list(EXPLAINING)]).fetchone()
    if row is not None and row[0]:
        found.append(f"the ledger lacks the reason of {row[0]:,} coverage cells that count on one, first {row[1]}")
    return found


def tradeless(connection: psycopg.Connection[Any], since: date, now: datetime, days: int | None = None) -> list[str]:
    """Faults of days from ``since`` on whose live bars were made from trades that are missing now.

    Days without a partition are all checked; of the others the newest ``days`` (None: all of them).
    """
    there = connection.execute(_LIVE_DAYS, {"first": since, "last": now.date()}).fetchall()
    looked = [day for day, exists in there if exists]
    looked = looked if days is None else looked[-days:]
    found = []
    for day, exists in there:
        start = datetime(day.year, day.month, day.day, tzinfo=now.tzinfo)
        span = {"start": start, "end": min(start + timedelta(days=1), now - _SETTLED)}
        if exists and day not in looked:
            continue
        row = connection.execute(_TRADELESS if exists else _OF_LIVE, span).fetchone()
        if row is not None and row[0] > _FEW_MINUTES:
            found.append(f"trades of {day} are missing, though {row[0]:,} live bars were made from them")
    return found


def _held_against_counts(connection: psycopg.Connection[Any], table: str) -> tuple[int, str | None]:
    counted = _counted(table)
    if counted is None:
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(_identifier(table))).fetchone()
        assert row is not None
        return row[0], None
    query, values, by = counted
    time = "signal_ts" if "labels" in table else "open_time"
    statement = sql.SQL(_COMPARE).format(time=sql.Identifier(time), table=_identifier(table), wanted=sql.SQL(query))
    row = connection.execute(statement, values).fetchone()
    assert row is not None
    found, wanted, cells, first = row
    if not cells:
        return found, None
    return found, f"{table} has {found:,} rows where {by} counts {wanted:,}: {cells:,} days differ, first {first}"


def _held_against_index(connection: psycopg.Connection[Any], table: str, rows: int) -> str | None:
    row = connection.execute(_HAS_INDEX, [table]).fetchone()
    if row is None or not row[0]:
        return None
    connection.execute(_BY_INDEX)
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(_identifier(table))).fetchone()
    assert row is not None
    return None if row[0] == rows else f"{table} has {rows:,} rows where its index has {row[0]:,}"


def _counted(table: str) -> tuple[str, dict[str, Any], str] | None:
    """The statement that counts the rows a table must have, its parameters, and the name of the count's source."""
    schema, _, name = table.partition(".")
    kind, *rest = name.split("_")
    if schema == "market" and kind == "ohlc" and rest and rest[0] in set(Timeframe):
        first, until = _month(rest[1:])
        return _BARS, {"timeframe": rest[0], "first": first, "until": until}, "coverage"
    if schema == "research" and name.startswith("ml_features_2"):
        first, until = _month(rest[1:])
        return _FEATURES, {"first": first, "until": until}, "research.feature_cells"
    if schema == "research" and kind == "strategy" and rest[-1] == "labels":
        return _LABELS, {"strategy": rest[0]}, "research.label_cells"
    return None


def _month(parts: Sequence[str]) -> tuple[date, date]:
    if len(parts) != 2:
        return _FAR
    first = date(int(parts[0]), int(parts[1]), 1)
    return first, (first + timedelta(days=32)).replace(day=1)


def _identifier(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split(".", 1))
