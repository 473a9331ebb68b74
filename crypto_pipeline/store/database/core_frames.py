"""Answers of SQLAlchemy Core as Polars frames, for tables of low volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from sqlalchemy import Connection, Select

from crypto_pipeline.store.database.pool import Connections

_UTC_US = pl.Datetime("us", "UTC")


def frame(connections: Connections, query: Select[Any], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The rows of ``query`` in ``schema``, whose columns have the query's names and order."""

    def read(connection: Connection) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in connection.execute(query)]

    # PostgreSQL's times have microseconds
    types = {name: _UTC_US if isinstance(dtype, pl.Datetime) else dtype for name, dtype in schema.items()}
    rows = pl.DataFrame(connections.run_core(read), schema=types, orient="row")
    return rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
