"""The tables that are declared for SQLAlchemy are those that the migrations make."""

from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import dialect

from crypto_pipeline.store import Store
from crypto_pipeline.store.schema import model_tables, tables

TABLES = list(tables.METADATA.tables.values())
assert model_tables.MODELS in TABLES


def test_alembic_sees_no_difference(store: Store) -> None:
    """Alembic compares tables, columns, types, nullability, defaults and foreign keys."""

    def declared(_: Any, name: str | None, kind: str, reflected: bool, __: Any) -> bool:
        # indexes and unique constraints stand in the migrations alone
        return kind not in ("index", "unique_constraint")

    def named(name: str | None, kind: str, parents: Any) -> bool:
        if kind == "schema":
            return name in {table.schema for table in TABLES}
        return kind != "table" or parents["schema_qualified_table_name"] in tables.METADATA.tables

    def differences(connection: sqlalchemy.Connection) -> list[Any]:
        options = {
            "include_schemas": True,
            "include_name": named,
            "include_object": declared,
            "compare_type": True,
            "compare_server_default": True,
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), tables.METADATA))

    # comments stand in the migrations alone too
    assert [each for each in store.connections.run_core(differences) if "comment" not in str(each)] == []


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_every_column_is_as_in_the_database(store: Store, table: Table) -> None:
    def reflect(connection: sqlalchemy.Connection) -> Table:
        return Table(table.name, sqlalchemy.MetaData(), schema=table.schema, autoload_with=connection)

    there = store.connections.run_core(reflect)
    assert [_told(column) for column in table.columns] == [_told(column) for column in there.columns]
    assert [column.name for column in table.primary_key] == [column.name for column in there.primary_key]
    assert _references(table) == _references(there)


def _told(column: sqlalchemy.Column[Any]) -> tuple[str, str, bool | None, bool]:
    kind = column.type.compile(dialect())
    return column.name, kind, column.nullable, column.identity is not None


def _references(table: Table) -> set[tuple[str, str]]:
    return {(key.parent.name, key.target_fullname) for key in table.foreign_keys}
