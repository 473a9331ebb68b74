"""What people see of a materialization: pictures, tables, and the figures of each partition."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl


def picture(png: bytes, alt: str) -> dg.MarkdownMetadataValue:
    """A PNG that the UI shows in place."""
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})")


def table(frame: pl.DataFrame, most: int = 50) -> dg.TableMetadataValue:
    """The first rows of a frame as a table in the UI."""
    shown = frame.head(most)
    records = [dg.TableRecord(row) for row in plain_rows(shown, most)]
    schema = dg.TableSchema([dg.TableColumn(name, _kind(dtype)) for name, dtype in shown.schema.items()])
    return dg.MetadataValue.table(records=records, schema=schema)


#: A column of a table of the database: name, SQL type, meaning.
Column = tuple[str, str, str]


def columns(text: str) -> list[Column]:
    """Columns, one a line: name, SQL type, and their meaning in the rest of the line."""
    rows = (line.split(maxsplit=2) for line in text.strip().splitlines())
    return [(name, kind, meaning) for name, kind, meaning in rows]


def table_schema(columns: Iterable[Column], key: str) -> dg.TableSchema:
    """Columns of a table of the database, and what there is one row of."""
    return dg.TableSchema(
        columns=[dg.TableColumn(name, kind, description=text) for name, kind, text in columns],
        constraints=dg.TableConstraints(other=[f"one row per {key}"]),
    )


def by_partition(context: dg.AssetExecutionContext) -> dict[str, tuple[datetime, datetime]]:
    """``[start, end)`` of each partition of the run by its key, UTC, in order of time."""
    definition = context.assets_def.partitions_def
    assert isinstance(definition, dg.TimeWindowPartitionsDefinition)
    windows = {key: definition.time_window_for_partition_key(key) for key in context.partition_keys}
    return {key: (one.start.astimezone(UTC), one.end.astimezone(UTC)) for key, one in windows.items()}


def tell(context: dg.AssetExecutionContext, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Give each partition (by key) its own figures: without this a run gives all of its partitions the run's."""
    for key, shown in figures.items():
        context.add_asset_metadata(dict(shown), partition_key=key)


def span_text(start: datetime, end: datetime) -> str:
    """A span as people read it."""
    return f"{start:%Y-%m-%d %H:%M} … {end:%Y-%m-%d %H:%M} UTC"


def plain_rows(frame: pl.DataFrame, most: int) -> list[dict[str, Any]]:
    """The first rows as JSON-ready dictionaries."""
    return [{name: _plain(value) for name, value in row.items()} for row in frame.head(most).iter_rows(named=True)]


def _plain(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="minutes")
    if isinstance(value, timedelta):
        return str(value)
    return str(value)


def _kind(dtype: pl.DataType) -> str:
    if dtype.is_integer():
        return "int"
    return "float" if dtype.is_float() else "bool" if dtype == pl.Boolean else "string"
