"""Frames that a simulation gives, in the columns of the ledger's tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from crypto_pipeline.store.trading.ledger_columns import (
    DECISION_SCHEMA,
    EQUITY_SCHEMA,
    FILL_SCHEMA,
    MONEY,
    ORDER_SCHEMA,
    POSITION_SCHEMA,
    POSTING_SCHEMA,
    REOPENED_SCHEMA,
    TRADE_SCHEMA,
    UTC_MS,
)

__all__ = [
    "DECISION_SCHEMA",
    "EQUITY_SCHEMA",
    "FILL_SCHEMA",
    "MONEY",
    "ORDER_SCHEMA",
    "POSITION_SCHEMA",
    "POSTING_SCHEMA",
    "REOPENED_SCHEMA",
    "TRADE_SCHEMA",
    "framed",
]


def framed(rows: Sequence[Sequence[Any]], schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """A frame of rows whose values stand in the order of ``schema``; times are Unix milliseconds."""
    if not rows:
        return pl.DataFrame(schema=schema)
    columns = zip(*rows, strict=True)
    return pl.DataFrame(
        [_series(name, dtype, values) for (name, dtype), values in zip(schema.items(), columns, strict=True)]
    )


def _series(name: str, dtype: pl.DataType, values: Sequence[Any]) -> pl.Series:
    if dtype == UTC_MS:
        return pl.Series(name, values, dtype=pl.Int64()).cast(dtype)
    if isinstance(dtype, pl.Decimal):  # as text: Polars takes Python's decimals apart one by one, six times as slowly
        texts = [None if value is None else str(value) for value in values]
        return pl.Series(name, texts, dtype=pl.String()).cast(dtype)
    return pl.Series(name, values, dtype=dtype)
