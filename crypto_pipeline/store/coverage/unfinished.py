"""Queries over all cells that find unfinished work; their usual answer is "none".

A complete store has over a hundred thousand cells. Fetching them takes longer than the comparison, so the few rows to
compare with are sent to the database instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from crypto_pipeline.market.timeframes import Timeframe

#: Update of a cell whose expected number is set again; ``c`` is ``market.coverage``. The number is of windows in
#: sessions; bars outside of them count as expected once they are stored.
ON_EXPECTED_AGAIN = """
ON CONFLICT (instrument_id, timeframe, day) DO UPDATE
SET expected = excluded.expected + c.outside,
    final = excluded.expected + c.outside > 0 AND c.present + c.explained >= excluded.expected + c.outside,
    updated_at = now()
WHERE c.expected <> excluded.expected + c.outside
"""
_SET_EXPECTED = (
    """
INSERT INTO market.coverage AS c (instrument_id, timeframe, day, expected)
SELECT i.number, t.timeframe, t.day, t.expected
FROM unnest(%(instruments)s::int[]) AS i (number)
CROSS JOIN unnest(%(timeframes)s::text[], %(days)s::date[], %(expected)s::int[]) AS t (timeframe, day, expected)
LEFT JOIN market.coverage k
    ON k.instrument_id = i.number AND k.timeframe = t.timeframe COLLATE "C" AND k.day = t.day
WHERE k.expected - k.outside IS DISTINCT FROM t.expected
ORDER BY 1, t.timeframe COLLATE "C", 3
"""
    + ON_EXPECTED_AGAIN
)

# A day's version is compared with one version; a week's with the sum of its days' versions (see stale_rollups).
_UNFINISHED = """
WITH spans AS MATERIALIZED (
    SELECT s.timeframe COLLATE "C", s.lower COLLATE "C", s.width, s.first, s.last
    FROM unnest(%(timeframes)s::text[], %(lower)s::text[], %(widths)s::int[], %(first)s::date[], %(last)s::date[])
        AS s (timeframe, lower, width, first, last)
), weeks AS (
    SELECT s.timeframe, b.instrument_id, b.day - (extract(isodow FROM b.day)::int - 1) AS day,
           sum(b.data_version)::bigint AS version
    FROM spans s
    JOIN market.coverage b ON b.timeframe = s.lower AND b.day BETWEEN s.first AND s.last + (s.width - 1)
    WHERE s.width > 1 AND b.instrument_id = ANY(%(instruments)s) AND b.data_version > 0
    GROUP BY 1, 2, 3
)
SELECT c.timeframe
FROM market.coverage c
JOIN spans s ON s.timeframe = c.timeframe AND c.day BETWEEN s.first AND s.last
WHERE c.instrument_id = ANY(%(instruments)s) AND c.expected > c.present + c.explained AND c.archived = 0
UNION
SELECT s.timeframe
FROM market.coverage b
JOIN spans s ON s.lower = b.timeframe AND s.width = 1 AND b.day BETWEEN s.first AND s.last
LEFT JOIN market.coverage c ON c.instrument_id = b.instrument_id AND c.timeframe = s.timeframe AND c.day = b.day
WHERE b.instrument_id = ANY(%(instruments)s) AND b.data_version > 0 AND c.built_from IS DISTINCT FROM b.data_version
UNION
SELECT w.timeframe
FROM weeks w
JOIN spans s USING (timeframe)
LEFT JOIN market.coverage c ON c.instrument_id = w.instrument_id AND c.timeframe = w.timeframe AND c.day = w.day
WHERE w.day BETWEEN s.first AND s.last AND c.built_from IS DISTINCT FROM w.version
"""


@dataclass(frozen=True, slots=True)
class CellSpan:
    """Cells of one timeframe from ``first`` to ``last`` day, and the timeframe that it is rolled up from, if any."""

    timeframe: Timeframe
    first: date
    last: date
    lower: Timeframe | None = None


def set_expected(
    connection: psycopg.Connection[Any], instruments: Sequence[int], cells: Iterable[tuple[str, date, int]]
) -> int:
    """Set the expected numbers of these cells (timeframe, day) for all instruments; return the number of changed
    rows.
    """
    timeframes, days, expected = map(list, zip(*cells, strict=True))
    values = {"instruments": list(instruments), "timeframes": timeframes, "days": days, "expected": expected}
    return connection.execute(_SET_EXPECTED, values, prepare=False).rowcount


def unfinished(
    connection: psycopg.Connection[Any], instruments: Sequence[int], spans: Sequence[CellSpan]
) -> set[Timeframe]:
    """Timeframes with a cell that lacks bars without a reason, or was rolled up from bars that have changed."""
    values = {
        "instruments": list(instruments),
        "timeframes": [str(one.timeframe) for one in spans],
        "lower": [str(one.lower) if one.lower else None for one in spans],
        "widths": [one.timeframe.cell_days for one in spans],
        "first": [one.first for one in spans],
        "last": [one.last for one in spans],
    }
    # not prepared: the plan for one day of one timeframe would be reused for years of all timeframes
    return {Timeframe(name) for (name,) in connection.execute(_UNFINISHED, values, prepare=False)}
