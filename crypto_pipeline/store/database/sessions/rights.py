"""What a PostgreSQL server is, and whether its user may do there what migrations, writers and Dagster's storage do."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from crypto_pipeline.store.database.connect import MissingDatabaseError, any_connection, connect, database_name
from crypto_pipeline.store.database.sessions.pooler import direct_url

_FACTS = (
    "SELECT current_setting('server_version_num')::int / 10000, pg_encoding_to_char(coalesce("
    "(SELECT encoding FROM pg_database WHERE datname = %s), (SELECT encoding FROM pg_database "
    "WHERE datname = 'template1'))), current_setting('max_connections')::int"
)
_MAY_CREATE_DATABASES = "SELECT rolcreatedb OR rolsuper, rolname FROM pg_roles WHERE rolname = current_user"
_MAY_USE = (
    "SELECT has_database_privilege(current_database(), 'CREATE'), has_database_privilege(current_database(), 'TEMP'), "
    "has_schema_privilege('public', 'CREATE'), current_user"
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server: its major version, the encoding of the database (or of new ones), and how many sessions it takes."""

    version: int
    encoding: str
    max_connections: int


def server_facts(url: str) -> ServerFacts:
    """The server of ``url``, past its pooler; the database need not exist yet. Raises StoreError."""
    url = direct_url(url)
    with any_connection(url) as connection:
        row = connection.execute(_FACTS, [database_name(url)]).fetchone()
    assert row is not None
    return ServerFacts(*row)


def missing_rights(*urls: str) -> list[str]:
    """What an administrator has to do, a sentence for each, before the users of ``urls`` may work in their databases.

    A database that does not exist is no trouble where its user may create it. Raises StoreError.
    """
    return [sentence for url in urls for sentence in _missing(direct_url(url))]


def _missing(url: str) -> list[str]:
    name = database_name(url)
    try:
        with connect(url) as connection:
            return _in_database(connection, name)
    except MissingDatabaseError:
        with any_connection(url) as connection:
            row = connection.execute(_MAY_CREATE_DATABASES).fetchone()
    assert row is not None
    may_create, role = row
    if may_create:
        return []
    return [f'Run `CREATE DATABASE "{name}" OWNER "{role}"` as administrator.']


def _in_database(connection: psycopg.Connection[tuple[object, ...]], name: str) -> list[str]:
    row = connection.execute(_MAY_USE).fetchone()
    assert row is not None
    schemas, temporary, public, role = row
    lacking = [right for right, given in (("CREATE", schemas), ("TEMPORARY", temporary)) if not given]
    found = [f'Run `GRANT {", ".join(lacking)} ON DATABASE "{name}" TO "{role}"` as administrator.'] if lacking else []
    if not public:
        found.append(f'Run `GRANT CREATE ON SCHEMA public TO "{role}"` in the database {name} as administrator.')
    return found
