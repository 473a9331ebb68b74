"""What there is to do, decided inside the database: questions over all cells whose usual answer is "nothing".

A finished store has over a hundred thousand cells. Fetching them to compare them costs more than the comparison, so
the few rows to compare with are sent there instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from crypto_pipeline.market.timeframes import Timeframe

_SET_EXPECTED = """
INSERT INTO market.coverage AS c (instrument_id, timeframe, day, expected)
SELECT i.number, t.timeframe, t.day, t.expected
FROM unnest(%(instruments)s::int[]) AS i (number)
CROSS JOIN unnest(%(timeframes)s::text[], %(days)s::date[], %(expected)s::int[]) AS t (timeframe, day, expected)
LEFT JOIN market.coverage k
    ON k.instrument_id = i.number AND k.timeframe = t.timeframe COLLATE "C" AND k.day = t.day
WHERE k.expected IS DISTINCT FROM t.expected
ORDER BY 1, t.timeframe COLLATE "C", 3
ON CONFLICT (instrument_id, timeframe, day) DO UPDATE
SET expected = excluded.expected,
    final = excluded.expected > 0 AND c.present + c.explained >= excluded.expected,
    updated_at = now()
WHERE c.expected <> excluded.expected
"""

# Sums, not the newest version: see stale_rollups. Both sides of every comparison come out of one aggregation.
_OPEN = """
WITH spans AS (
    SELECT * FROM unnest(%(timeframes)s::text[], %(lower)s::text[], %(widths)s::int[], %(first)s::date[],
                         %(last)s::date[]) AS s (timeframe, lower, width, first, last)
), below AS (
    SELECT s.timeframe, c.instrument_id,
           CASE WHEN s.width > 1 THEN c.day - (extract(isodow FROM c.day)::int - 1) ELSE c.day END AS day,
           sum(c.data_version) AS version
    FROM spans s
    JOIN market.coverage c ON c.timeframe = s.lower COLLATE "C" AND c.day BETWEEN s.first AND s.last + (s.width - 1)
    WHERE c.instrument_id = ANY(%(instruments)s) AND c.data_version > 0
    GROUP BY 1, 2, 3
), stale AS (
    SELECT DISTINCT b.timeframe
    FROM below b
    JOIN spans s USING (timeframe)
    LEFT JOIN market.coverage c
        ON c.instrument_id = b.instrument_id AND c.timeframe = b.timeframe COLLATE "C" AND c.day = b.day
    WHERE b.day BETWEEN s.first AND s.last AND c.built_from IS DISTINCT FROM b.version
)
SELECT s.timeframe
FROM spans s
WHERE s.timeframe IN (SELECT timeframe FROM stale) OR EXISTS (
    SELECT FROM market.coverage c
    WHERE c.timeframe = s.timeframe COLLATE "C" AND c.day BETWEEN s.first AND s.last
      AND c.instrument_id = ANY(%(instruments)s) AND c.expected > c.present + c.explained
)
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
    """State for each of the instruments that these cells (timeframe, day) have so many bars; how many rows changed."""
    timeframes, days, expected = map(list, zip(*cells, strict=True))
    values = {"instruments": list(instruments), "timeframes": timeframes, "days": days, "expected": expected}
    return connection.execute(_SET_EXPECTED, values, prepare=False).rowcount


def unfinished(
    connection: psycopg.Connection[Any], instruments: Sequence[int], spans: Sequence[CellSpan]
) -> set[Timeframe]:
    """Timeframes with a cell that lacks bars or reasons, or was rolled up from other bars than are stored now."""
    values = {
        "instruments": list(instruments),
        "timeframes": [str(one.timeframe) for one in spans],
        "lower": [str(one.lower) if one.lower else None for one in spans],
        "widths": [one.timeframe.cell_days for one in spans],
        "first": [one.first for one in spans],
        "last": [one.last for one in spans],
    }
    # not prepared: a plan made for a day of one timeframe would be kept for years of all
    return {Timeframe(name) for (name,) in connection.execute(_OPEN, values, prepare=False)}
