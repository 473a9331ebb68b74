"""Rows for files of the mirror, read from the tables, sorted by instrument and time, with each dataset's columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.times import midnight
from crypto_pipeline.store.archive import rows as archive_rows
from crypto_pipeline.store.database.frames import named
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.mirror.datasets import FileSpan

#: Column of the time that a row's day is of.
TIME_COLUMN = {"bars": "open_time", "features": "open_time", "labels": "signal_ts"}
_TABLE = {
    "features": (
        "SELECT * FROM research.ml_features WHERE instrument_id = ANY($1) AND open_time >= $2 AND open_time < $3"
    ),
    "labels": (
        "SELECT * FROM research.strategy_{strategy}_labels "
        "WHERE instrument_id = ANY($1) AND signal_ts >= $2 AND signal_ts < $3 AND params_hash = $4"
    ),
}
# A row that left its table without another in its place is in no file: its end counts as a change too.
_LAST_CHANGE = {
    "bars": """
        SELECT max(superseded_at) FROM market.ohlc_revisions
        WHERE instrument_id = ANY(%(ids)s) AND timeframe = %(series)s
          AND open_time >= %(start)s AND open_time < %(end)s
    """,
    "labels": """
        SELECT max(superseded_at) FROM research.strategy_{strategy}_label_revisions
        WHERE params_hash = %(params_hash)s AND signal_ts >= %(start)s AND signal_ts < %(end)s
          AND instrument_id = ANY(%(ids)s)
    """,
}


def read(connections: Connections, span: FileSpan, names: Mapping[int, str]) -> pl.DataFrame:
    """Rows of the instruments (names by number) in a file's days: ``instrument``, then the table's columns.

    Times are UTC, in milliseconds; ``recorded_at`` is in microseconds.
    """
    start, end = midnight(span.first_day), midnight(span.end_day)
    of = span.of
    if of.dataset == "bars":
        return connections.run(archive_rows.bars, names, of.timeframe, start, end)
    values: list[Any] = [list(names), start, end]
    query = _TABLE[of.dataset]
    if of.dataset == "labels":
        strategy, params_hash = of.series.split("/")
        query = query.format(strategy=_checked(strategy))
        values.append(params_hash)
    frame = named(connections.frame(query, values), {name: number for number, name in names.items()})
    times = [name for name, dtype in frame.schema.items() if dtype.is_temporal() and name != "recorded_at"]
    exact = [name for name in frame.columns if name == "recorded_at"]
    return frame.with_columns(
        *(pl.col(name).cast(UTC_MS) for name in times), *(pl.col(name).cast(pl.Datetime("us", "UTC")) for name in exact)
    ).sort("instrument", TIME_COLUMN[of.dataset])


def last_change(connection: psycopg.Connection[Any], span: FileSpan, numbers: list[int]) -> datetime | None:
    """When the newest superseded copy of a row of the span ended (UTC); None if there is none, or of features."""
    query = _LAST_CHANGE.get(span.of.dataset)
    if query is None:
        return None
    values: dict[str, Any] = {"ids": numbers, "series": span.of.series}
    values |= {"start": midnight(span.first_day), "end": midnight(span.end_day)}
    if span.of.dataset == "labels":
        strategy, values["params_hash"] = span.of.series.split("/")
        query = query.format(strategy=_checked(strategy))
    row = connection.execute(query, values).fetchone()
    return None if row is None else row[0]


def _checked(strategy: str) -> str:
    """The name of a strategy, which becomes a part of a table's name."""
    if not strategy.isidentifier():
        raise ValueError(f"no strategy is called {strategy!r}")
    return strategy
