"""The SQL statements of ``Labels``, made from the tables' columns. Only column and table names are inserted."""

from __future__ import annotations

from functools import lru_cache

import polars as pl

from crypto_pipeline.store.research.label_columns import LabelTable

# ruff: noqa: S608  (names of our own tables and columns)

WRITING_SINCE = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL AND xact_start <= %s
"""

DECLARE = """
INSERT INTO research.label_parameters (params_hash, strategy, parameters) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING
"""

STAGE_CELLS = """
CREATE TEMP TABLE IF NOT EXISTS staged_label_cells (
    instrument_id int, day date, setups int, labels int, waiting int, waits_until timestamptz, inputs text,
    minute_days date[], minute_versions text
) ON COMMIT {end}
"""

ADD_CELLS = """
INSERT INTO research.label_cells (strategy, params_hash, instrument_id, day)
SELECT %(strategy)s, %(params_hash)s, instrument_id, day FROM pg_temp.staged_label_cells ORDER BY instrument_id, day
ON CONFLICT DO NOTHING
"""

LOCK_CELLS = """
SELECT FROM research.label_cells c
JOIN pg_temp.staged_label_cells s USING (instrument_id, day)
WHERE c.strategy = %(strategy)s AND c.params_hash = %(params_hash)s
ORDER BY c.instrument_id, c.day
FOR UPDATE OF c
"""

# Rows retired or recorded at this time mark the days that changed.
UPDATE_CELLS = """
UPDATE research.label_cells c
SET setups = s.setups, labels = s.labels, waiting = s.waiting, waits_until = s.waits_until, inputs = s.inputs,
    minute_days = s.minute_days, minute_versions = s.minute_versions, computed_at = %(at)s,
    label_version = CASE WHEN d.day IS NULL THEN c.label_version ELSE nextval('research.label_version') END
FROM pg_temp.staged_label_cells s
LEFT JOIN (SELECT DISTINCT instrument_id, day FROM pg_temp.changed_label_days) d USING (instrument_id, day)
WHERE c.strategy = %(strategy)s AND c.params_hash = %(params_hash)s
  AND c.instrument_id = s.instrument_id AND c.day = s.day
"""

CELLS = """
SELECT instrument_id, day, setups, labels, waiting, waits_until, inputs, minute_days, minute_versions, label_version,
       computed_at
FROM research.label_cells
WHERE strategy = $1 AND params_hash = $2 AND day BETWEEN $3 AND $4 AND instrument_id = ANY($5)
"""

# The sum, because versions are drawn before the commit; each only rises, so any change changes the sum.
VERSION = """
SELECT count(*) AS cells, coalesce(sum(label_version), 0)::bigint AS version
FROM research.label_cells
WHERE strategy = $1 AND params_hash = ANY($2) AND day BETWEEN $3 AND $4 AND label_version > 0
"""

_DAY = "l.signal_ts::date"
#: Rows of table ``{0}`` on the day of the cell ``c``. The connection's time zone is UTC.
_ON_DAY = "{0}.signal_ts >= c.day::timestamptz AND {0}.signal_ts < (c.day + 1)::timestamptz"


def _columns(table: LabelTable) -> list[str]:
    return [f'"{name}"' for name in table.schema]


@lru_cache(maxsize=8)
def stage(table: LabelTable) -> tuple[str, str]:
    """Statements of temporary tables: the new labels, and the days with a changed label."""
    names = ", ".join(["instrument_id", "data_version", *_columns(table)])
    return (
        f"CREATE TEMP TABLE IF NOT EXISTS staged_{table.strategy}_labels ON COMMIT {{end}} AS "
        f"SELECT {names} FROM {table.name} WITH NO DATA",
        "CREATE TEMP TABLE IF NOT EXISTS changed_label_days (instrument_id int, day date) ON COMMIT {end}",
    )


def _differs(table: LabelTable) -> str:
    """Condition that stored ``l`` and staged ``s`` differ by more than rounding."""
    parts = []
    for name, dtype in table.schema.items():
        mine, theirs = f'l."{name}"', f's."{name}"'
        if dtype == pl.Float64():
            parts.append(f"abs({mine} - {theirs}) > greatest(1e-9 * greatest(abs({mine}), abs({theirs})), 1e-12)")
        else:
            parts.append(f"{mine} <> {theirs}")
    return " OR ".join(parts)


@lru_cache(maxsize=8)
def retire(table: LabelTable) -> str:
    """Move stored rows of the staged cells to the revisions if they are not staged, or with other values."""
    names = ", ".join(
        f'"{name}"' for name in ("instrument_id", "params_hash", "data_version", "recorded_at", *table.schema)
    )
    return f"""
WITH outdated AS (
    SELECT l.instrument_id, l.signal_ts
    FROM pg_temp.staged_label_cells c
    JOIN {table.name} l ON l.instrument_id = c.instrument_id AND l.params_hash = %(params_hash)s
        AND {_ON_DAY.format("l")}
    LEFT JOIN pg_temp.staged_{table.strategy}_labels s
        ON s.instrument_id = l.instrument_id AND s.signal_ts = l.signal_ts
    WHERE s.signal_ts IS NULL OR {_differs(table)}
), gone AS (
    DELETE FROM {table.name} l USING outdated o
    WHERE l.instrument_id = o.instrument_id AND l.signal_ts = o.signal_ts AND l.params_hash = %(params_hash)s
    RETURNING l.*
), noted AS (
    INSERT INTO pg_temp.changed_label_days SELECT l.instrument_id, {_DAY} FROM gone l
)
INSERT INTO {table.revisions} ({names}, superseded_at)
SELECT {names}, greatest(%(at)s, recorded_at) FROM gone
"""


@lru_cache(maxsize=8)
def add(table: LabelTable) -> str:
    """Insert the staged rows that are not stored."""
    names = ", ".join(["instrument_id", "data_version", *_columns(table)])
    staged = ", ".join(f"s.{name}" for name in ["instrument_id", "data_version", *_columns(table)])
    return f"""
WITH added AS (
    INSERT INTO {table.name} ({names}, params_hash, recorded_at)
    SELECT {staged}, %(params_hash)s, %(at)s FROM pg_temp.staged_{table.strategy}_labels s
    WHERE NOT EXISTS (
        SELECT FROM {table.name} l
        WHERE l.instrument_id = s.instrument_id AND l.signal_ts = s.signal_ts AND l.params_hash = %(params_hash)s
    )
    ORDER BY s.instrument_id, s.signal_ts
    RETURNING instrument_id, signal_ts
)
INSERT INTO pg_temp.changed_label_days SELECT l.instrument_id, {_DAY} FROM added l
"""


@lru_cache(maxsize=8)
def count_withdrawn(table: LabelTable) -> str:
    """Count the rows that were retired at this time without a replacement."""
    return f"""
SELECT count(*) FROM {table.revisions} r
JOIN pg_temp.staged_label_cells c ON r.instrument_id = c.instrument_id
    AND {_ON_DAY.format("r")}
WHERE r.params_hash = %(params_hash)s AND r.superseded_at = %(at)s AND NOT EXISTS (
    SELECT FROM pg_temp.staged_{table.strategy}_labels s
    WHERE s.instrument_id = r.instrument_id AND s.signal_ts = r.signal_ts
)
"""


@lru_cache(maxsize=8)
def read(table: LabelTable, *, as_of: bool) -> str:
    """Labels of one parameter hash in a span of signals."""
    columns = [*_columns(table), "params_hash", "data_version", "recorded_at"]
    names = ", ".join(["instrument_id", *columns])
    wanted = "params_hash = $1 AND signal_ts >= $2 AND signal_ts < $3 AND instrument_id = ANY($4)"
    if not as_of:
        return f"SELECT {names} FROM {table.name} WHERE {wanted}"
    return (
        f"SELECT {names} FROM {table.name} WHERE {wanted} AND recorded_at <= $5 UNION ALL "
        f"SELECT {names} FROM {table.revisions} "
        f"WHERE {wanted} AND recorded_at <= $5 AND superseded_at > $5"
    )
