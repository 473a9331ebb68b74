"""Columns of Iceberg tables, from those of Parquet files."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import (
    BooleanType,
    DateType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

from crypto_pipeline.store.database.errors import StoreError

_TYPES = (
    (pa.types.is_float64, DoubleType()),
    (pa.types.is_float32, FloatType()),
    (pa.types.is_int64, LongType()),
    (pa.types.is_uint32, LongType()),
    (pa.types.is_integer, IntegerType()),
    (pa.types.is_boolean, BooleanType()),
    (pa.types.is_date32, DateType()),
    (pa.types.is_large_string, StringType()),
    (pa.types.is_string, StringType()),
    (pa.types.is_string_view, StringType()),
)


def iceberg_type(name: str, type_: pa.DataType) -> IcebergType:
    """The type of a column in Iceberg; times in UTC become microseconds. Raises StoreError for one without equal."""
    if pa.types.is_dictionary(type_):
        return iceberg_type(name, type_.value_type)
    if pa.types.is_timestamp(type_) and type_.tz is not None and type_.unit != "ns":
        return TimestamptzType()
    for is_it, equal in _TYPES:
        if is_it(type_):
            return equal
    raise StoreError(f"column {name!r} has a type that Iceberg tables of ours do not have: {type_}")


def merged(schemas: list[pa.Schema]) -> dict[str, pa.DataType]:
    """The columns of all schemas, in the order of the first that has each. Of types that differ the last one counts."""
    found: dict[str, pa.DataType] = {}
    for schema in schemas:
        found.update(zip(schema.names, schema.types, strict=True))
    return found


def first_schema(columns: Mapping[str, pa.DataType], comments: Mapping[str, str]) -> Schema:
    """The schema of a new table. No column is required: files from before a column have none of it."""
    return Schema(
        *(
            NestedField(number, name, iceberg_type(name, type_), required=False, doc=comments.get(name))
            for number, (name, type_) in enumerate(columns.items(), 1)
        )
    )


def add_columns(table: Table, columns: Mapping[str, pa.DataType], comments: Mapping[str, str]) -> list[str]:
    """Add the columns that a table lacks, by one commit; return their names.

    Raises StoreError if a column has another type than before.
    """
    known = {field.name: field.field_type for field in table.schema().fields}
    wanted = {name: iceberg_type(name, type_) for name, type_ in columns.items()}
    changed = [name for name, type_ in wanted.items() if name in known and known[name] != type_]
    if changed:
        raise StoreError(f"columns {', '.join(changed)} of {'.'.join(table.name())} have other types than before")
    new = [name for name in wanted if name not in known]
    if new:
        with table.update_schema() as update:
            for name in new:
                update.add_column(name, wanted[name], doc=comments.get(name))
    return new
