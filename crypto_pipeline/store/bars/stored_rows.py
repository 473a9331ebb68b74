"""Reading stored bars as numpy columns within a writing transaction, with their row identifiers (ctid)."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.columns import column_reads
from crypto_pipeline.store.columns.bars import DAY_US, Columns
from crypto_pipeline.store.columns.copy_format import PG_EPOCH_US, Field

_PLACED = (*column_reads.BARS, Field("ctid", "tid"))
# OFFSET 0 keeps the planner from the opposite join order, which would read the whole partition.
_READ = """
SELECT p.*
FROM unnest(%(instruments)s::int[], %(first)s::bigint[], %(last)s::bigint[]) AS r (i, first, last)
CROSS JOIN LATERAL (
    SELECT t.*, t.ctid FROM {} AS t
    WHERE t.instrument_id = r.i AND t.timeframe = %(timeframe)s
      AND t.open_time BETWEEN timestamptz 'epoch' + r.first * interval '1 ms'
                          AND timestamptz 'epoch' + r.last * interval '1 ms'
    OFFSET 0
) AS p
"""


def read(connection: psycopg.Connection[Any], table: sql.Identifier, timeframe: Timeframe, wanted: Columns) -> Columns:
    """Stored bars at and near the keys of ``wanted`` (sorted), unordered; column ``ctid`` identifies each row."""
    instruments, times = wanted["instrument_id"], wanted["open_time"]
    # one range per group of adjacent bars
    breaks = (np.diff(instruments) != 0) | (np.diff(times) > max(DAY_US, timeframe.milliseconds * 1000))
    starts = np.append(0, np.flatnonzero(breaks) + 1)
    ends = np.append(starts[1:] - 1, len(times) - 1)
    values = {
        "timeframe": timeframe,
        "instruments": instruments[starts].tolist(),
        "first": ((times[starts] + PG_EPOCH_US) // 1000).tolist(),
        "last": ((times[ends] + PG_EPOCH_US) // 1000).tolist(),
    }
    return column_reads.read(connection, _PLACED, sql.SQL(_READ).format(table), values)
