"""Statements for ClickHouse by name. Those that make the tables are in ``one_server.sql`` and ``cluster.sql``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources

#: The copy with the greatest version of each bar. argMax over ``version`` is the same row, and many times slower.
_BEST = """
SELECT {columns} FROM (
    SELECT {columns}, removed, epoch, version FROM crypto_pipeline.bars
    WHERE timeframe = {{timeframe:String}} AND instrument_id IN {{instruments:Array(Int32)}}
      AND open_time >= fromUnixTimestamp64Milli({{start:Int64}}, 'UTC')
      AND open_time < fromUnixTimestamp64Milli({{end:Int64}}, 'UTC')
    ORDER BY instrument_id, timeframe, open_time, version DESC
    LIMIT 1 BY instrument_id, timeframe, open_time
)
"""
STATES = """
SELECT instrument_id, day, tupleElement(state, 1) AS data_version, tupleElement(state, 2) AS rows FROM (
    SELECT instrument_id, day, argMax((data_version, rows), written_at) AS state FROM crypto_pipeline.cells
    WHERE timeframe = {timeframe:String}
    GROUP BY instrument_id, day
)
"""
#: A cell of which the state is not known: it differs from any.
DOUBT = """
INSERT INTO crypto_pipeline.cells (timeframe, instrument_id, day, data_version, rows)
SELECT DISTINCT timeframe, instrument_id, toDate32(open_time), 0, 1 FROM crypto_pipeline.bars
"""
SYMBOLS = "SELECT instrument_id, argMax(symbol, written_at) AS symbol FROM crypto_pipeline.instruments GROUP BY 1"
MARK = "SELECT argMax(mark, written_at) AS mark FROM crypto_pipeline.marks"
FIGURES = """
SELECT coalesce(sum(rows), 0)::Int64 AS rows, coalesce(sum(bytes_on_disk), 0)::Int64 AS bytes, count()::Int64 AS parts
FROM system.parts WHERE active AND database = {database:String}
"""
MERGE = "OPTIMIZE TABLE crypto_pipeline.bars FINAL"
DROP = "DROP DATABASE IF EXISTS crypto_pipeline "


def best_copies(columns: Sequence[str], *, removed: bool = False) -> str:
    """The query for the best copy of each bar; bars that left only with ``removed``."""
    query = _BEST.format(columns=", ".join(columns))
    return query if removed else f"{query}WHERE NOT removed ORDER BY instrument_id, open_time"


@cache
def tables(*, cluster: bool = False) -> list[str]:
    """The statements that make the tables, one by one, on one server or on a cluster."""
    lines = text(cluster=cluster).splitlines()
    code = "\n".join(line for line in lines if not line.startswith("--"))
    return [statement.strip() for statement in code.split(";\n") if statement.strip()]


def text(*, cluster: bool = False) -> str:
    """The file of these statements, as it is shipped."""
    name = "cluster.sql" if cluster else "one_server.sql"
    return (resources.files(__package__) / name).read_text()
