"""The SQL statements of the refresh of materialized views."""

from __future__ import annotations

from typing import LiteralString

# Rows recorded before the start of the oldest open transaction are visible to all.
CERTAIN = """
SELECT now(), least(now(), min(xact_start)), market.now() FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
"""

# Objects that depend on a view: they would be lost with it, or prevent dropping it.
ATTACHED = """
SELECT 'an index of somebody''s own' FROM pg_index
WHERE indrelid = %(view)s::regclass AND indexrelid <> (%(view)s || '_key')::regclass
UNION ALL
SELECT 'a grant on a column' FROM pg_attribute WHERE attrelid = %(view)s::regclass AND attacl IS NOT NULL
UNION ALL
SELECT 'a view upon it' FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = %(view)s::regclass AND r.ev_class <> d.refobjid
LIMIT 1
"""

GRANTS = """
SELECT CASE WHEN a.grantee = 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END, a.privilege_type, a.is_grantable
FROM pg_class c CROSS JOIN aclexplode(c.relacl) a
WHERE c.oid = %s::regclass AND a.grantee <> c.relowner
"""

DEFINITION = """
SELECT pg_get_viewdef(%(view)s::regclass), pg_get_indexdef((%(view)s || '_key')::regclass),
       obj_description(%(view)s::regclass)
"""

COLUMN_COMMENTS = """
SELECT a.attname, d.description
FROM pg_description d JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
WHERE d.objoid = %s::regclass AND d.objsubid > 0
"""

RENAMES: tuple[LiteralString, ...] = (
    "ALTER MATERIALIZED VIEW {view} RENAME TO {old}",
    "ALTER INDEX {key} RENAME TO {old_key}",
    "ALTER MATERIALIZED VIEW {fresh} RENAME TO {to}",
    "ALTER INDEX {fresh_key} RENAME TO {key_to}",
)

NOTE = """
INSERT INTO ops.view_refreshes AS r
    (name, refreshed_at, market_at, certain_to, possible_to, seconds, rows, bytes, method)
VALUES (%(name)s, %(at)s, %(market)s, %(certain)s, %(possible)s, %(seconds)s, %(rows)s,
        pg_total_relation_size(%(view)s::regclass), %(method)s)
ON CONFLICT (name) DO UPDATE SET refreshed_at = excluded.refreshed_at, market_at = excluded.market_at,
    certain_to = excluded.certain_to,
    possible_to = excluded.possible_to, seconds = excluded.seconds, rows = excluded.rows, bytes = excluded.bytes,
    method = excluded.method
"""

STATE = """
SELECT name, rows, bytes, refreshed_at, extract(epoch FROM clock_timestamp() - refreshed_at)::float8 AS age_seconds,
       seconds, method
FROM ops.view_refreshes ORDER BY name
"""

LEFTOVERS = """
SELECT relname FROM pg_class
WHERE relnamespace = 'market'::regnamespace AND relkind = 'm' AND (relname = %(fresh)s OR starts_with(relname, %(old)s))
"""
