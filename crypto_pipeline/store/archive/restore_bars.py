"""The merged bars of one month from its files and the tables, and their storage."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from crypto_pipeline.store.archive import accounting, merge, parquet, rows
from crypto_pipeline.store.archive.merge import Copies
from crypto_pipeline.store.columns import bars as bar_columns
from crypto_pipeline.store.columns import copy_format
from crypto_pipeline.store.columns.copy_format import PG_EPOCH_US, Field
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.partitions import compaction, rebuild
from crypto_pipeline.store.partitions import span as archive_spans
from crypto_pipeline.store.partitions.span import Span

_COPY = "COPY {} ({}) FROM STDIN (FORMAT BINARY)"
# FREEZE: the new table is invisible before it is attached, so its rows need no later vacuum.
_COPY_NEW = "COPY {} ({}) FROM STDIN (FORMAT BINARY, FREEZE)"
_SUPERSEDED = "superseded_at"
_BARS = sql.Identifier("market", "ohlc_data")
_REVISIONS = sql.Identifier("market", "ohlc_revisions")
_FORGET = """
DELETE FROM market.ohlc_revisions WHERE instrument_id = ANY(%(instruments)s) AND timeframe = %(timeframe)s
  AND open_time >= %(start)s AND open_time < %(end)s
"""
_TAKE_OUT = """
DELETE FROM market.ohlc_data USING unnest(%(ids)s::int[], %(times)s::timestamptz[]) AS u (i, at)
WHERE instrument_id = u.i AND timeframe = %(timeframe)s AND open_time = u.at
"""


@dataclass(slots=True)
class Loaded:
    """The restored month: rows of each cell and the whole history; for a month that shares its table, also the bars
    that differ from the table's. ``restored`` counts the rows from files.
    """

    ids: dict[str, int]
    cells: list[pl.DataFrame] = field(default_factory=list)
    past: list[pl.DataFrame] = field(default_factory=list)
    other: list[pl.DataFrame] = field(default_factory=list)
    restored: dict[str, int] = field(default_factory=lambda: {"bars": 0, "revisions": 0})


def build(connection: psycopg.Connection[Any], connections: Connections, span: Span, places: dict[str, Path]) -> Loaded:
    """Fill the new table of the span's partition, row group by row group, so that a month need not fit into memory."""
    assert span.timeframe is not None
    new = rebuild.begin(connection, span)
    loaded = Loaded(connections.run(archive_spans.symbols, span))
    for _, merged in _merged(connections, span, places, loaded):
        _copy_in(connection, new, span, merged.bars, loaded.ids, how=_COPY_NEW)
    rebuild.finish(connection, span)
    # the rows of each instrument are adjacent
    connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(new, sql.Literal(compaction.DONE)))
    return loaded


def collect(connections: Connections, span: Span, places: dict[str, Path]) -> Loaded:
    """The bars that differ from the table's, for a month that shares its table with others."""
    loaded = Loaded(connections.run(archive_spans.symbols, span))
    for hot, merged in _merged(connections, span, places, loaded):
        loaded.other.append(merged.bars.join(hot, on=hot.columns, how="anti", nulls_equal=True))
    return loaded


def account(connection: psycopg.Connection[Any], span: Span, loaded: Loaded) -> None:
    """Set the counts of cells, and store the history."""
    counted = pl.concat([pl.DataFrame(schema=accounting.CELLS), *loaded.cells])
    accounting.account(connection, span, counted.with_columns(pl.col("rows").alias("staying")))
    connection.execute(_FORGET, span.values() | {"instruments": list(loaded.ids.values())})
    for past in loaded.past:
        _copy_in(connection, _REVISIONS, span, past, loaded.ids, _SUPERSEDED)


def replace(connection: psycopg.Connection[Any], span: Span, loaded: Loaded) -> None:
    """Replace the table's bars by those that differ."""
    for bars in loaded.other:
        if bars.height:
            ids = bars["instrument"].replace_strict(loaded.ids, return_dtype=pl.Int32).to_list()
            values = span.values() | {"ids": ids, "times": bars["open_time"].to_list()}
            connection.execute(_TAKE_OUT, values, prepare=False)
            _copy_in(connection, _BARS, span, bars, loaded.ids)


def _merged(
    connections: Connections, span: Span, places: dict[str, Path], loaded: Loaded
) -> Iterator[tuple[pl.DataFrame, Copies]]:
    """Yield the table's bars and the merged ones, some instruments at a time; instruments without a file come last."""
    assert span.timeframe is not None
    left = {number: name for name, number in loaded.ids.items()}
    old = [*parquet.row_groups(places["revisions"], "revisions")] if "revisions" in places else []
    history = pl.concat([pl.DataFrame(schema=rows.REVISION_FILE), *old])
    loaded.restored = {"bars": 0, "revisions": history.height}
    empty = pl.DataFrame(schema=rows.BAR_FILE)
    for archived in chain(_ahead(places["bars"]) if "bars" in places else (), [empty]):
        here = set(archived["instrument"].unique()) if archived.height else set(left.values())
        chosen = {number: name for number, name in left.items() if name in here}
        left = {number: name for number, name in left.items() if name not in here}
        if not chosen:
            continue
        hot = Copies(
            connections.run(rows.bars, chosen, span.timeframe, span.start, span.end),
            connections.run(rows.revisions, chosen, span.timeframe, span.start, span.end),
        )
        past = history.filter(pl.col("instrument").is_in(list(chosen.values())))
        merged = merge.merge(hot, Copies(archived, past))
        loaded.restored["bars"] += archived.height
        # the history of a bar that stayed in the table is both there and in the file
        loaded.past.append(merged.past.unique(maintain_order=True))
        loaded.cells.append(accounting.cells(merged.bars, loaded.ids))
        yield hot.bars, merged


def _ahead(path: Path) -> Iterator[pl.DataFrame]:
    """Yield row groups; the next one is read while the caller uses the current one."""
    groups = parquet.row_groups(path, "bars")
    with ThreadPoolExecutor(1, thread_name_prefix="restore") as pool:
        coming = pool.submit(next, groups, None)
        while (group := coming.result()) is not None:
            coming = pool.submit(next, groups, None)
            yield group


def _copy_in(
    connection: psycopg.Connection[Any],
    table: sql.Identifier,
    span: Span,
    frame: pl.DataFrame,
    ids: dict[str, int],
    *moments: str,
    how: str = _COPY,
) -> None:
    if frame.is_empty():
        return
    assert span.timeframe is not None
    columns = bar_columns.from_frame(frame, ids)
    for name in ("recorded_at", *moments):
        columns[name] = frame[name].to_physical().to_numpy() - PG_EPOCH_US
    extra = [Field(name, "timestamptz") for name in moments]
    with connection.cursor() as cursor:
        target = sql.SQL(how).format(table, bar_columns.column_list(*copy_format.names(extra)))
        bar_columns.copy_in(cursor, target, span.timeframe, columns, *extra)
