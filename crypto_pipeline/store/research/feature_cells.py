"""Cells of features: the data versions from which each day was computed, the query for stale days, and row locks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.coverage.cell_creation import make_and_hold
from crypto_pipeline.store.database.frames import named, require_columns
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections

# Data versions only rise, so the sum over all cells that influence a day changes with any of them. (The maximum would
# miss a version that was drawn early and committed late.) Each coverage cell counts from its own day to the end of its
# look-back, so a running sum over these two events is the sum of the window.
_STALE = """
WITH own_look AS (
    SELECT * FROM unnest($4::text[], $5::int[]) AS l (timeframe, back)
), own_events AS (
    SELECT c.instrument_id, c.day AS at, c.data_version AS v
    FROM market.coverage c JOIN own_look l USING (timeframe)
    WHERE c.instrument_id = ANY($1) AND c.day BETWEEN $2::date - l.back AND $3::date AND c.data_version > 0
    UNION ALL
    SELECT c.instrument_id, c.day + l.back + 1, -c.data_version
    FROM market.coverage c JOIN own_look l USING (timeframe)
    WHERE c.instrument_id = ANY($1) AND c.day BETWEEN $2::date - l.back AND $3::date AND c.data_version > 0
), own AS (
    SELECT instrument_id, at AS day, sum(sum(v)) OVER (PARTITION BY instrument_id ORDER BY at) AS version
    FROM own_events GROUP BY instrument_id, at
), shared_look AS (
    SELECT $6::int[] AS members, timeframe, back FROM unnest($7::text[], $8::int[]) AS l (timeframe, back)
    UNION ALL
    SELECT $9::int[], '15m', $10::int
), shared AS (
    SELECT d.day::date AS day, sum(c.data_version) AS version
    FROM generate_series($2::date, $3::date, interval '1 day') AS d (day)
    CROSS JOIN shared_look l
    JOIN market.coverage c ON c.instrument_id = ANY(l.members) AND c.timeframe = l.timeframe
        AND c.day BETWEEN d.day::date - l.back AND d.day::date
    GROUP BY d.day
)
SELECT c.instrument_id, c.day, (o.version + coalesce(s.version, 0))::bigint AS computed_from,
       f.computed_from AS stored_from, coalesce(f.schema_hash, '') AS stored_schema
FROM market.coverage c
JOIN own o USING (instrument_id, day)
LEFT JOIN shared s USING (day)
LEFT JOIN research.feature_cells f USING (instrument_id, day)
WHERE c.timeframe = '15m' AND c.instrument_id = ANY($1) AND c.day BETWEEN $2::date AND $3::date
  AND (c.present > 0 OR f.rows > 0)
  AND (f.computed_from IS DISTINCT FROM o.version + coalesce(s.version, 0) OR f.schema_hash <> $11)
"""

_CELLS = """
SELECT instrument_id, day, computed_from, feature_version, rows, schema_hash, computed_at
FROM research.feature_cells WHERE instrument_id = ANY($1) AND day BETWEEN $2 AND $3
"""

_ADD = """
INSERT INTO research.feature_cells (instrument_id, day)
SELECT u.i, u.d FROM unnest(%(instruments)s::int[], %(days)s::date[]) AS u (i, d) ORDER BY u.i, u.d
ON CONFLICT DO NOTHING
"""
_LOCK = """
SELECT c.instrument_id, c.day, c.computed_from, c.schema_hash, c.rows
FROM unnest(%(instruments)s::int[], %(days)s::date[]) AS u (i, d)
JOIN research.feature_cells c ON c.instrument_id = u.i AND c.day = u.d
ORDER BY c.instrument_id, c.day
FOR UPDATE OF c
"""
_UPDATE = """
UPDATE research.feature_cells c
SET computed_from = u.computed_from, schema_hash = %(schema)s, feature_version = nextval('research.feature_version'),
    computed_at = now(),
    rows = (
        SELECT count(*) FROM research.ml_features f
        WHERE f.instrument_id = c.instrument_id AND f.open_time >= c.day::timestamp AT TIME ZONE 'UTC'
          AND f.open_time < (c.day + 1)::timestamp AT TIME ZONE 'UTC'
    )
FROM unnest(%(instruments)s::int[], %(days)s::date[], %(versions)s::bigint[]) AS u (i, d, computed_from)
WHERE c.instrument_id = u.i AND c.day = u.d
"""


@dataclass(frozen=True, slots=True)
class LookBacks:
    """Days before a day that its features read: own bars, the benchmark's bars, and all instruments' 15m bars."""

    own: Mapping[Timeframe, int]
    benchmark: Mapping[Timeframe, int]
    market: int


class FeatureCells:
    """Reads and locks ``research.feature_cells``. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def stale(
        self,
        instruments: Sequence[str],
        first: date,
        last: date,
        *,
        looks: LookBacks,
        schema_hash: str,
        benchmark: str | None,
        market: Sequence[str],
    ) -> pl.DataFrame:
        """Days from ``first`` to ``last`` with stale features: missing, of bars that changed since, or of another
        schema.

        Columns ``instrument``, ``day``, ``computed_from`` (pass it to ``write`` with rows computed from bars that
        are read after this call), ``stored_from`` and ``stored_schema``; sorted.
        """
        ids = self._symbols.ids(instruments)
        shared = list(self._symbols.ids([benchmark]).values()) if benchmark else []
        parameters = [
            list(ids.values()), first, last, [str(one) for one in looks.own], list(looks.own.values()),
            shared, [str(one) for one in looks.benchmark], list(looks.benchmark.values()),
            list(self._symbols.ids(market).values()), looks.market, schema_hash,
        ]  # fmt: skip
        return named(self._connections.frame(_STALE, parameters), ids).sort("instrument", "day")

    def read(self, instruments: Sequence[str], first: date, last: date) -> pl.DataFrame:
        """The cells: ``instrument``, ``day``, ``computed_from`` (null: only live rows so far), ``feature_version``,
        ``rows``, ``schema_hash``, ``computed_at`` (UTC); sorted."""
        ids = self._symbols.ids(instruments)
        answer = self._connections.frame(_CELLS, [list(ids.values()), first, last])
        return named(answer, ids).sort("instrument", "day")

    def version(self, first: date, last: date) -> str:
        """A text that differs after any write of features of these days."""
        answer = self._connections.frame(
            "SELECT count(*) AS cells, coalesce(sum(feature_version), 0)::bigint AS version "
            "FROM research.feature_cells WHERE day BETWEEN $1 AND $2",
            [first, last],
        )
        return f"{answer['cells'][0]}.{answer['version'][0]}"


def lock(connection: psycopg.Connection[Any], cells: pl.DataFrame) -> pl.DataFrame:
    """Lock cells (``instrument_id``, ``day``; sorted, each once) until the transaction ends; return their values."""
    parameters = {"instruments": cells["instrument_id"].to_list(), "days": cells["day"].to_list()}
    rows = make_and_hold(connection, _ADD, _LOCK, parameters, len(cells), "features")
    schema = {
        "instrument_id": pl.Int32,
        "day": pl.Date,
        "held_from": pl.Int64,
        "held_schema": pl.String,
        "rows": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def update(connection: psycopg.Connection[Any], cells: pl.DataFrame, schema_hash: str) -> None:
    """Set ``computed_from`` of locked cells (``instrument_id``, ``day``, ``computed_from``), and count their rows."""
    require_columns(cells, ["instrument_id", "day", "computed_from"], "a frame of feature cells")
    parameters = {
        "instruments": cells["instrument_id"].to_list(),
        "days": cells["day"].to_list(),
        "versions": cells["computed_from"].to_list(),
        "schema": schema_hash,
    }
    connection.execute(_UPDATE, parameters)
