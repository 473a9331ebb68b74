"""Coverage counts of a span while its rows move between table and archive, and the rows that stay in the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.store.database.frames import copy_rows
from crypto_pipeline.store.database.sessions.pooler import create_temporary
from crypto_pipeline.store.partitions.span import Span

#: Schema of the number of bars of each coverage cell.
CELLS: dict[str, pl.DataType] = {"instrument_id": pl.Int32(), "day": pl.Date(), "rows": pl.Int64()}

# The open time from which on an instrument's newest bars stay in the table at any age.
_STAYING = """
SELECT u.i, (
    SELECT b.open_time FROM market.ohlc_data b
    WHERE b.instrument_id = u.i AND b.timeframe = %(timeframe)s ORDER BY b.open_time DESC OFFSET %(skip)s LIMIT 1
)
FROM unnest(%(instruments)s::int[]) AS u (i)
"""
_STAYING_ROWS = """
SELECT o.instrument_id, (o.open_time AT TIME ZONE 'UTC')::date AS day, count(*)
FROM unnest(%(ids)s::int[], %(since)s::timestamptz[]) AS u (i, since)
JOIN market.ohlc_data o ON o.instrument_id = u.i
WHERE o.timeframe = %(timeframe)s AND o.open_time >= greatest(u.since, %(start)s) AND o.open_time < %(end)s
GROUP BY 1, 2
"""
_ACCOUNT = """
UPDATE market.coverage c
SET present = f.rows, archived = f.rows - f.staying, updated_at = now(),
    expected = CASE WHEN %(dropped)s THEN least(c.expected, f.rows + c.explained) ELSE c.expected END,
    final = CASE WHEN %(dropped)s THEN least(c.expected, f.rows + c.explained) > 0
                 ELSE c.expected > 0 AND f.rows + c.explained >= c.expected END
FROM pg_temp.switched_cells f
WHERE c.instrument_id = f.instrument_id AND c.timeframe = %(timeframe)s AND c.day = f.day
"""
# Counts of cells have changed, and their versions have not.
_LOOK_AGAIN = "SELECT lake.look_again('bars', %(timeframe)s)"


def cells(bars: pl.DataFrame, ids: Mapping[str, int]) -> pl.DataFrame:
    """Bars of each cell, in CELLS; ``bars`` are sorted by instrument. (A weekly bar opens on its cell's Monday.)"""
    day, rows = pl.col("open_time").dt.date().alias("day"), pl.len().cast(pl.Int64).alias("rows")
    name = bars["instrument"]
    if bars.height and name[0] == name[-1]:  # the usual case: no names are compared
        number = pl.lit(ids[name[0]], pl.Int32)
        counted = bars.group_by(day).agg(rows)
    else:
        number = pl.col("instrument").replace_strict(ids, return_dtype=pl.Int32)
        counted = bars.group_by("instrument", day).agg(rows)
    return counted.select(number.alias("instrument_id"), "day", "rows")


def account(connection: psycopg.Connection[Any], span: Span, counted: pl.DataFrame, *, dropped: bool = False) -> None:
    """Set the counts of cells. ``counted`` has CELLS and ``staying``, the number of rows in the table.

    With ``dropped``, only the rows that stay are expected from now on.
    """
    if dropped:
        counted = counted.with_columns(rows=pl.col("staying"))
    create_temporary(
        connection,
        "CREATE TEMP TABLE IF NOT EXISTS switched_cells (instrument_id int, day date, rows int, staying int) "
        "ON COMMIT {end}",
    )
    connection.execute("TRUNCATE pg_temp.switched_cells")
    copy_rows(connection, "switched_cells", counted.select(*CELLS, "staying"))
    connection.execute("ANALYZE pg_temp.switched_cells")
    connection.execute(_ACCOUNT, span.values() | {"dropped": dropped})
    connection.execute(_LOOK_AGAIN, span.values())


@dataclass(frozen=True, slots=True)
class KeptRows:
    """Per instrument the open time from which on its bars stay in the table, and the number of such bars of the span.

    ``limits`` are parameters for statements: ``instruments`` and ``until_open``. ``ids`` and ``since`` list instruments
    with bars of the span that stay, ``counts`` these bars by instrument and day.
    """

    limits: dict[str, Any]
    ids: list[int]
    since: list[Any]
    rows: int
    counts: list[tuple[int, Any, int]]

    @classmethod
    def of_span(
        cls, connection: psycopg.Connection[Any], span: Span, numbers: Sequence[int], min_bars: int
    ) -> KeptRows:
        """Rows of the span that stay: the newest ``min_bars`` bars of each instrument; trades never stay."""
        if span.timeframe is None:
            return cls({}, [], [], 0, [])
        instruments = sorted(set(numbers))
        if min_bars == 0:
            limits: dict[int, Any] = dict.fromkeys(instruments, span.end)
        else:
            values = {"timeframe": str(span.timeframe), "skip": min_bars - 1, "instruments": instruments}
            rows = connection.execute(_STAYING, values, prepare=False).fetchall()
            # all bars of a series with fewer bars stay
            limits = {number: span.start if since is None else since for number, since in rows}
        near = {number: since for number, since in limits.items() if since < span.end}
        counts = []
        if near:
            values = span.values() | {"ids": list(near), "since": list(near.values())}
            counts = connection.execute(_STAYING_ROWS, values, prepare=False).fetchall()
        both = {"instruments": list(limits), "until_open": list(limits.values())}
        return cls(both, list(near), list(near.values()), sum(row[2] for row in counts), counts)

    def beside(self, counted: pl.DataFrame) -> pl.DataFrame:
        """The cells of ``counted`` (CELLS) with a column ``staying``."""
        schema = {"instrument_id": pl.Int32(), "day": pl.Date(), "staying": pl.Int64()}
        kept = pl.DataFrame(self.counts, schema=schema, orient="row")
        return counted.join(kept, on=["instrument_id", "day"], how="left").with_columns(pl.col("staying").fill_null(0))
