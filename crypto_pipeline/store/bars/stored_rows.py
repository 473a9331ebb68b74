"""Reading stored bars as numpy columns within a writing transaction, with their row identifiers (ctid)."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.columns import copy_format
from crypto_pipeline.store.columns.bars import ABSENT, BAR_LAYOUT, DAY_US, Columns
from crypto_pipeline.store.columns.copy_format import PG_EPOCH_US, Field

_PLACED = (*BAR_LAYOUT, Field("ctid", "tid"))
_ARRAYS = ", ".join(
    f"array_send(array_agg(coalesce(p.{field.name}, {ABSENT[field.name]})))"
    if field.name in ABSENT
    else f"array_send(array_agg(p.{field.name}))"
    for field in _PLACED
)
# OFFSET 0 keeps the planner from the opposite join order, which would read the whole partition.
_READ = f"""
SELECT {_ARRAYS}
FROM unnest(%(instruments)s::int[], %(first)s::bigint[], %(last)s::bigint[]) AS r (i, first, last)
CROSS JOIN LATERAL (
    SELECT *, t.ctid FROM {{}} AS t
    WHERE t.instrument_id = r.i AND t.timeframe = %(timeframe)s
      AND t.open_time BETWEEN timestamptz 'epoch' + r.first * interval '1 ms'
                          AND timestamptz 'epoch' + r.last * interval '1 ms'
    OFFSET 0
) AS p
"""  # noqa: S608  (only column names of ours are put in)


def read(connection: psycopg.Connection[Any], table: sql.Identifier, timeframe: Timeframe, wanted: Columns) -> Columns:
    """Stored bars at and near the keys of ``wanted`` (sorted), unordered; column ``ctid`` identifies each row."""
    instruments, times = wanted["instrument_id"], wanted["open_time"]
    # one range per group of adjacent bars
    breaks = (np.diff(instruments) != 0) | (np.diff(times) > max(DAY_US, timeframe.milliseconds * 1000))
    starts = np.append(0, np.flatnonzero(breaks) + 1)
    ends = np.append(starts[1:] - 1, len(times) - 1)
    with connection.cursor(binary=True) as cursor:
        cursor.execute(
            sql.SQL(_READ).format(table),
            {
                "timeframe": timeframe,
                "instruments": instruments[starts].tolist(),
                "first": ((times[starts] + PG_EPOCH_US) // 1000).tolist(),
                "last": ((times[ends] + PG_EPOCH_US) // 1000).tolist(),
            },
            prepare=False,  # a plan made for few rows would be kept for many
        )
        row = cursor.fetchone()
    assert row is not None, "an aggregate always answers"
    return {field.name: copy_format.decode_array(field, data) for field, data in zip(_PLACED, row, strict=True)}
