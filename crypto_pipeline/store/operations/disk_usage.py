"""Disk use of the database, its growth, and the state of its tables, from PostgreSQL's statistics."""

# ruff: noqa: S608  (queries are put together from constants; values are parameters)

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import psycopg
from adbc_driver_manager import dbapi
from psycopg import sql

from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.operations import statistics
from crypto_pipeline.store.partitions import premake
from crypto_pipeline.store.partitions.vacuum import vacuum

#: Bytes of a bar with its index, used until statistics exist.
BAR_BYTES = 170
#: Our schemas; ``dagster_storage`` measures Dagster's database.
_SCHEMAS = "('market', 'ops', 'research', 'trading', 'lake', 'iceberg')"

# Each row has 28 bytes of overhead (header and line pointer), and a page has 8,168 usable bytes of 8,192. Further bytes
# of a table are space left by updates and deletes; PostgreSQL reuses some of it.
_TABLES = f"""
WITH widths AS (
    SELECT schemaname, tablename, sum(avg_width * (1 - null_frac)) AS width, count(*) AS columns
    FROM pg_stats WHERE NOT inherited AND schemaname IN {_SCHEMAS} GROUP BY 1, 2
), leaves AS (
    SELECT c.oid, n.nspname AS schema, c.relname AS leaf, greatest(c.reltuples, 0)::float8 AS rows, c.relkind,
           coalesce(pg_partition_root(c.oid), c.oid)::regclass AS root,
           pg_relation_size(c.oid) AS heap, pg_indexes_size(c.oid) AS indexes, pg_total_relation_size(c.oid) AS total,
           w.width, coalesce(substring(array_to_string(c.reloptions, ',') FROM 'fillfactor=(\\d+)')::int, 100) AS fill
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    -- of a table that is analyzed in part the width is not known
    LEFT JOIN widths w ON w.schemaname = n.nspname AND w.tablename = c.relname AND w.columns = (
        SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
    WHERE c.relkind IN ('r', 'm') AND n.nspname IN {_SCHEMAS}
), named AS (
    SELECT l.*, r.relname AS name,
           CASE WHEN l.root = 'market.ohlc_data'::regclass THEN split_part(l.leaf, '_', 2) ELSE '' END AS timeframe
    FROM leaves l JOIN pg_class r ON r.oid = l.root
)
SELECT n.schema || '.' || n.name AS "table", n.timeframe, count(*)::int AS parts, sum(n.rows)::bigint AS rows,
       sum(n.heap)::bigint AS heap_bytes, sum(n.indexes)::bigint AS index_bytes, sum(n.total)::bigint AS bytes,
       (sum(greatest(0, n.heap - 8192 * ceil(n.rows * (8 * ceil(n.width / 8) + 28) / 8168 * 100 / n.fill)))
           FILTER (WHERE n.width IS NOT NULL AND n.rows >= 1000))::bigint AS bloat_bytes,
       (sum(s.n_dead_tup) / nullif(sum(s.n_live_tup + s.n_dead_tup), 0))::float8 AS dead_share,
       (sum(i.heap_blks_hit + i.idx_blks_hit) / nullif(
           sum(i.heap_blks_hit + i.idx_blks_hit + i.heap_blks_read + i.idx_blks_read), 0))::float8 AS cache_hit,
       max(greatest(s.last_analyze, s.last_autoanalyze)) AS analyzed_at
FROM named n
LEFT JOIN pg_stat_all_tables s ON s.relid = n.oid
LEFT JOIN pg_statio_all_tables i ON i.relid = n.oid
GROUP BY n.schema, n.name, n.timeframe ORDER BY bytes DESC, 1, 2
"""

_INDEXES = f"""
SELECT coalesce(pr.relname, i.relname) AS index, n.nspname || '.' || coalesce(pt.relname, t.relname) AS "table",
       count(*)::int AS parts, sum(pg_relation_size(i.oid))::bigint AS bytes, sum(s.idx_scan)::bigint AS scans
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN pg_class pt ON pt.oid = pg_partition_root(t.oid)
LEFT JOIN pg_class pr ON pr.oid = pg_partition_root(i.oid)
LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = i.oid
WHERE i.relkind = 'i' AND n.nspname IN {_SCHEMAS}
GROUP BY 1, 2 ORDER BY bytes DESC, 1 LIMIT 50
"""

_ARCHIVE = """
SELECT kind, timeframe, count(*)::int AS files, sum(rows)::bigint AS rows, sum(bytes)::bigint AS bytes,
       min(first_open) AS first, max(end_open) AS "end"
FROM market.archive_files WHERE status = 'current' GROUP BY 1, 2 ORDER BY 1, 2
"""

# Retired files stay a while for readers that still read them.
_MIRROR = """
SELECT dataset, series, count(*)::int AS files, sum(rows)::bigint AS rows, sum(bytes)::bigint AS bytes,
       min(first_day) AS first, max(end_day) AS "end"
FROM lake.files WHERE status = 'current' GROUP BY 1, 2
UNION ALL
SELECT 'retired', '', count(*)::int, sum(rows)::bigint, sum(bytes)::bigint, min(first_day), max(end_day)
FROM lake.files WHERE status <> 'current' HAVING count(*) > 0
ORDER BY 1, 2
"""
_SEES_MIRROR = """
SELECT CASE WHEN has_schema_privilege('lake', 'USAGE') THEN has_table_privilege('lake.files', 'SELECT')
       ELSE false END AS seen
"""
_NO_MIRROR = """
SELECT ''::text AS dataset, ''::text AS series, 0::int AS files, 0::bigint AS rows, 0::bigint AS bytes,
       NULL::date AS first, NULL::date AS "end" WHERE false
"""

_SERVER = """
SELECT pg_database_size(current_database()) AS bytes,
       (SELECT sum(pg_database_size(datname)) FROM pg_database
        WHERE has_database_privilege(datname, 'CONNECT'))::bigint AS server_bytes,
       (SELECT (blks_hit / nullif(blks_hit + blks_read, 0)::float8) FROM pg_stat_database
        WHERE datname = current_database()) AS cache_hit
"""

_SAMPLE = f"""
INSERT INTO ops.storage_samples (name, bytes, rows)
SELECT t."table" || CASE WHEN t.timeframe = '' THEN '' ELSE ' ' || t.timeframe END, t.bytes, t.rows
FROM ({_TABLES}) AS t WHERE t.bytes >= 65536
UNION ALL SELECT '', pg_database_size(current_database()) + coalesce(sum(b), 0), 0 FROM unnest(%(bytes)s::bigint[]) AS b
UNION ALL SELECT n, b, 0 FROM unnest(%(names)s::text[], %(bytes)s::bigint[]) AS u (n, b)
ON CONFLICT DO NOTHING
"""

# The slope through all samples, because a single vacuum would distort the difference of last and first.
_GROWTH = """
SELECT name, regr_slope(bytes, extract(epoch FROM taken_at)) * 86400 AS bytes_per_day,
       regr_slope(rows, extract(epoch FROM taken_at)) * 86400 AS rows_per_day,
       extract(epoch FROM max(taken_at) - min(taken_at)) / 86400 AS days
FROM ops.storage_samples WHERE taken_at > now() - %(over)s::interval
GROUP BY name HAVING max(taken_at) - min(taken_at) >= %(at_least)s::interval
"""

# Used before there are samples: bars of the last whole days times the current size of a bar. It ignores retention.
_INFLOW = f"""
SELECT c.timeframe, (sum(c.present) / 3)::float8 AS rows_per_day,
       (sum(c.present) / 3 * coalesce(max(t.bytes::float8 / nullif(t.rows, 0)), {BAR_BYTES})) AS bytes_per_day
FROM market.coverage c
JOIN ({_TABLES}) AS t ON t."table" = 'market.ohlc_data' AND t.timeframe = c.timeframe
WHERE c.day >= (market.now() AT TIME ZONE 'UTC')::date - 3 AND c.day < (market.now() AT TIME ZONE 'UTC')::date
  AND c.timeframe <> '1w'
GROUP BY 1
"""

_HAS_STATEMENTS = """
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements') AS created,
       -- roles that may not see the setting are asked to try
       coalesce((SELECT setting LIKE '%pg_stat_statements%' FROM pg_settings
                 WHERE name = 'shared_preload_libraries'), true) AS kept
"""

#: object_not_in_prerequisite_state: the library is not loaded; insufficient_privilege
_NOT_KEPT = {"55000", "42501"}

_SLOW = """
SELECT calls, mean_exec_time AS mean_ms, max_exec_time AS max_ms, total_exec_time / 1000 AS total_s, rows,
       (shared_blks_hit / nullif(shared_blks_hit + shared_blks_read, 0)::float8) AS cache_hit,
       left(regexp_replace(query, '\\s+', ' ', 'g'), 300) AS query
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
WHERE d.datname = current_database() AND calls > 0 AND query NOT LIKE '%pg_stat_statements%'
ORDER BY total_exec_time DESC LIMIT 15
"""

_TRADES_BEFORE = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
WHERE h.inhparent = 'market.trades'::regclass AND c.relname < 'trades_' || to_char(%s::date, 'YYYY_MM_DD')
"""

_KEPT = {
    "ops.alerts": "resolved_at < now() - %(keep)s::interval",
    "ops.job_metrics": "started < now() - %(keep)s::interval",
    "ops.storage_samples": "taken_at < now() - 4 * %(keep)s::interval",
}

#: Catalogue tables that get dead rows when tables are made and dropped.
_CATALOGUE = (
    "pg_attribute", "pg_class", "pg_constraint", "pg_depend", "pg_description", "pg_index", "pg_inherits",
    "pg_shdepend", "pg_statistic", "pg_trigger", "pg_type",
)  # fmt: skip


class Storage:
    """Sizes and state of the tables. Thread-safe. Sizes are in bytes, times in UTC; rows are PostgreSQL's estimates."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def tables(self) -> pl.DataFrame:
        """Per table (bars: per timeframe), largest first: ``table``, ``timeframe`` (empty for others), ``parts``,
        ``rows``, ``heap_bytes``, ``index_bytes``, ``bytes``, ``bloat_bytes`` (null: no statistics yet), ``dead_share``,
        ``cache_hit``, ``analyzed_at``.
        """
        return self._connections.frame(_TABLES)

    def indexes(self) -> pl.DataFrame:
        """The 50 largest: ``index``, ``table``, ``parts``, ``bytes``, ``scans`` (since statistics began)."""
        return self._connections.frame(_INDEXES)

    def archive(self) -> pl.DataFrame:
        """Per kind and timeframe of archive files in use: ``files``, ``rows``, ``bytes``, ``first``, ``end``."""
        return self._connections.frame(_ARCHIVE)

    def mirror(self) -> pl.DataFrame:
        """Per dataset and series of the mirror's files: ``files``, ``rows``, ``bytes``, ``first`` and ``end`` day.

        Files that no read uses any more are the dataset ``retired``. A role that may not read the catalogue sees none.
        """
        seen = self._connections.frame(_SEES_MIRROR)["seen"][0]
        return self._connections.frame(_MIRROR if seen else _NO_MIRROR)

    def server(self) -> dict[str, Any]:
        """``bytes`` of the database, ``server_bytes`` of all accessible databases, ``cache_hit`` (0 to 1)."""
        frame = self._connections.frame(_SERVER)
        return {name: frame[name][0] for name in ("bytes", "server_bytes", "cache_hit")}

    def sample(self, beside: Mapping[str, int] | None = None) -> None:
        """Store the current sizes, from which ``growth`` is computed. ``beside``: bytes of other data on the disk."""
        given = {"names": list(beside or {}), "bytes": list((beside or {}).values())}
        self._connections.run(lambda connection: connection.execute(_SAMPLE, given) and None)

    def growth(self, over: timedelta = timedelta(days=14), at_least: timedelta = timedelta(days=1)) -> pl.DataFrame:
        """Growth per table (bars: per timeframe; empty name: the database and other sampled data).

        Columns ``bytes_per_day``, ``rows_per_day`` and the ``days`` covered by samples; only with samples over at least
        ``at_least``.
        """
        schema = {"name": pl.String, "bytes_per_day": pl.Float64, "rows_per_day": pl.Float64, "days": pl.Float64}

        def ask(connection: psycopg.Connection[Any]) -> list[Any]:
            return connection.execute(_GROWTH, {"over": over, "at_least": at_least}).fetchall()

        rows = [[name, *map(float, figures)] for name, *figures in self._connections.run(ask)]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def inflow(self) -> pl.DataFrame:
        """Per timeframe ``rows_per_day`` and ``bytes_per_day`` of the bars of the last three whole days."""
        return self._connections.frame(_INFLOW)

    def slow_queries(self) -> pl.DataFrame | None:
        """The 15 statements with the greatest total time: ``calls``, ``mean_ms``, ``max_ms``, ``total_s``, ``rows``,
        ``cache_hit``, ``query``. None if the server has no such statistics, or we may not read them."""
        created, kept = self._connections.frame(_HAS_STATEMENTS).row(0)
        if not (created and kept):
            return None
        try:
            return self._connections.frame(_SLOW)
        except dbapi.Error as error:
            if error.sqlstate in _NOT_KEPT:
                return None
            raise

    def trade_bytes_before(self, day: date) -> int:
        """Bytes of the days of trades before ``day`` (UTC)."""

        def ask(connection: psycopg.Connection[Any]) -> int:
            row = connection.execute(_TRADES_BEFORE, [day]).fetchone()
            return int(row[0]) if row else 0

        return self._connections.run(ask)

    def partitions_ahead(self, now: datetime) -> dict[str, int]:
        """Number of partitions of monthly bars and daily trades entirely in the future: table → number."""
        return self._connections.run(premake.count, now)

    def make_partitions_ahead(self, now: datetime) -> None:
        """Make the partitions of the next months and days."""
        self._connections.run(premake.make, now)

    def keep_statement_statistics(self) -> bool:
        """Create the extension pg_stat_statements. False if the server has not loaded it, or we may not create it."""
        if not self._connections.frame(_HAS_STATEMENTS)["kept"][0]:
            return False

        def create(connection: psycopg.Connection[Any]) -> None:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

        try:
            self._connections.run(create)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported):
            return False
        return True

    def analyze(self) -> None:
        """Update statistics of all our tables, including partitioned parents, which autovacuum ignores."""
        for statement in self._connections.run(lambda connection: list(statistics.statements(connection))):
            self._connections.run(_execute, statement)

    def tidy_catalogue(self) -> None:
        """Vacuum the system catalogue, which temporary tables and days of trades fill with dead rows.

        If we are not the server's owner, the server skips the catalogue, and only autovacuum does it.
        """
        vacuum(self._connections, [sql.Identifier("pg_catalog", name) for name in _CATALOGUE], "SKIP_LOCKED")

    def prune(self, keep: timedelta) -> dict[str, int]:
        """Delete resolved alerts and job metrics older than ``keep``, and samples four times as old; number of each."""

        def forget(connection: psycopg.Connection[Any]) -> dict[str, int]:
            return {
                table: connection.execute(f"DELETE FROM {table} WHERE {old}", {"keep": keep}).rowcount
                for table, old in _KEPT.items()
            }

        return self._connections.run(forget)


def _execute(connection: psycopg.Connection[Any], statement: sql.Composed) -> None:
    connection.execute(statement)
