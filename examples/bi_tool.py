"""SQL from a BI tool: a role that can read and nothing else, and queries of a dashboard.

    python bi_tool.py

Makes the role `dashboards` with a random password, prints the address for the tool, and runs the queries of bi_tool.sql
as that role. Run it on the machine of the database: it finds the address as `crypto-pipeline` does.
"""

import secrets
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import resolve_url

ROLE = "dashboards"
owner = resolve_url(load_settings())
password = secrets.token_urlsafe(16)

with psycopg.connect(owner, autocommit=True) as connection:
    role = sql.Identifier(ROLE)
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    for statement in (
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, password),
        sql.SQL("ALTER ROLE {} SET statement_timeout = '30s'").format(role),
        sql.SQL("GRANT USAGE ON SCHEMA market, ops TO {}").format(role),
        sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA market, ops TO {}").format(role),
    ):
        connection.execute(statement)

parts = urlsplit(owner)
place = f"{parts.hostname}:{parts.port or 5432}{parts.path}"
print(f"for the tool: user {ROLE}, password {password}, at {place}")

queries = Path(__file__).with_name("bi_tool.sql").read_text("utf-8").split("-- name: ")[1:]
with psycopg.connect(f"postgresql://{ROLE}:{quote(password)}@{place}") as connection:
    for query in queries:
        title, _, statement = query.partition("\n")
        cursor = connection.execute(statement.encode())
        rows = cursor.fetchall()
        print(f"\n{title}: {len(rows)} rows")
        print("  " + ", ".join(column.name for column in cursor.description or ()))
        for row in rows[:3]:
            print("  " + ", ".join(str(value) for value in row))
    try:
        connection.execute("DELETE FROM market.ohlc_data")
    except psycopg.errors.InsufficientPrivilege as error:
        print(f"\nit cannot write: {error.diag.message_primary}")
