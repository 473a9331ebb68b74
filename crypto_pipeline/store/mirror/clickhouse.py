"""What the ClickHouse mirror asks of PostgreSQL: the cells that it should have, and its mark."""

from __future__ import annotations

from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.pool import Connections

#: Schema of ``mirrored_cells``. ``rows`` counts the bars of table and archive.
CELLS_TO_MIRROR: dict[str, pl.DataType] = {
    "instrument_id": pl.Int32(),
    "day": pl.Date(),
    "data_version": pl.Int64(),
    "rows": pl.Int64(),
}
_CELLS = """
SELECT instrument_id, day, data_version, present::bigint AS rows FROM market.coverage
WHERE timeframe = $1 AND present > 0
"""
_KNOWN = "SELECT known_as, before FROM lake.clickhouse WHERE target = %s"
_MARK = """
INSERT INTO lake.clickhouse (target, known_as, before) VALUES (%(target)s, %(new)s, %(old)s)
ON CONFLICT (target) DO UPDATE SET known_as = %(new)s, before = %(old)s, changed_at = clock_timestamp()
"""


def cells_to_mirror(connections: Connections, timeframe: Timeframe) -> pl.DataFrame:
    """All cells of a timeframe with bars in table or archive, in CELLS_TO_MIRROR."""
    found = connections.frame(_CELLS, [str(timeframe)])
    return found.select(pl.col(name).cast(dtype) for name, dtype in CELLS_TO_MIRROR.items())


def known_marks(connections: Connections, target: str) -> set[str]:
    """The marks of states of the mirror ``target`` that this database knows."""
    rows = connections.run(lambda connection: connection.execute(_KNOWN, [target]).fetchall())
    return {mark for row in rows for mark in row}


def set_mark(connections: Connections, target: str, new: str, old: str) -> None:
    """Record that the mirror ``target``, which bears the mark ``old``, will bear ``new``."""

    def work(connection: psycopg.Connection[Any]) -> None:
        connection.execute(_MARK, {"target": target, "new": new, "old": old})

    connections.run(work)
