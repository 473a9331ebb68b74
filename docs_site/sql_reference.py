"""The page about tables and views, from the comments that the database has of them."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

from crypto_pipeline.store.database.connect import connect
from docs_site.markdown import as_anchor, heading, table

_HEAD = """# Tables and views

Every table and view of a migrated database, from the comments in the database itself (`\\d+` in psql shows them too).
Views are for people and tools: they have names instead of numbers, and they stay as they are. Tables are documented
so that you can read them; their columns may change with a release. [SQL](../sql.md) has examples and a role for
dashboards.

"""
_COLUMNS = """
    SELECT n.nspname, c.relname, c.relkind::text, coalesce(obj_description(c.oid, 'pg_class'), ''),
           a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
           coalesce(col_description(c.oid, a.attnum), from_table.meaning, '')
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    -- a column of a view means what the column of that name means in the table from which it comes
    LEFT JOIN LATERAL (
        SELECT min(col_description(d.refobjid, d.refobjsubid)) AS meaning
        FROM pg_rewrite r
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
            AND d.refclassid = 'pg_class'::regclass
        JOIN pg_attribute b ON b.attrelid = d.refobjid AND b.attnum = d.refobjsubid
        WHERE r.ev_class = c.oid AND d.refobjid <> c.oid AND b.attname = a.attname
    ) AS from_table ON c.relkind IN ('v', 'm')
    WHERE n.nspname IN ('market', 'trading', 'research', 'ops') AND c.relkind IN ('r', 'p', 'v', 'm')
      AND NOT c.relispartition
    ORDER BY array_position(ARRAY['market', 'trading', 'research', 'ops']::name[], n.nspname),
             c.relkind NOT IN ('v', 'm'), c.relname, a.attnum
"""
_KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view"}
SCHEMAS = {
    "market": "Bars, trades, instruments, coverage and the ledger of gaps",
    "trading": "Scans, signals, the paper account and orders",
    "research": "Features, labels, models and forecasts",
    "ops": "What the system says about itself",
}


class Column(NamedTuple):
    """A column of a table or view, with what is said of both."""

    schema: str
    relation: str
    kind: str
    about: str
    name: str
    type: str
    nullable: bool
    meaning: str


def columns(url: str) -> list[Column]:
    """Every column of the four schemas, views first."""
    with connect(url) as connection:
        return [Column(*row) for row in connection.execute(_COLUMNS).fetchall()]


def page(url: str) -> str:
    """The whole page, of the database behind ``url``."""
    parts = [_HEAD]
    for schema, of_schema in groupby(columns(url), lambda one: one.schema):
        parts += [heading(2, schema, schema), f"{SCHEMAS[schema]}.\n"]
        for relation, of_relation in groupby(of_schema, lambda one: one.relation):
            listed = list(of_relation)
            parts.append(heading(3, f"{schema}.{relation}", as_anchor(schema, relation)))
            parts.append(f"{_KINDS[listed[0].kind].capitalize()}. {listed[0].about}\n")
            parts.append(table(("column", "type", "meaning"), [_row(one) for one in listed]))
    return "\n".join(parts)


def _row(one: Column) -> tuple[str, str, str]:
    null = ", may be null" if one.nullable and one.kind in ("r", "p") else ""
    return f"`{one.name}`", f"{one.type}{null}", one.meaning
