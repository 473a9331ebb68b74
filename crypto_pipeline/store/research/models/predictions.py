"""Predictions in the database: each subject is decided once, and its row never changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
import psycopg
from psycopg.rows import dict_row

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import require_utc
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.research.models.rows import PredictionRow

#: Columns of a row that is written, but for the instrument.
_COLUMNS = (
    "strategy", "signal_ts", "model_id", "params_hash", "feature_schema_hash", "live", "ml_mode", "decision",
    "size_factor", "inputs", "probability", "raw", "p_star", "refused", "refusal", "contributions",
)  # fmt: skip
_INSERT = (
    f"INSERT INTO research.predictions (instrument_id, {', '.join(_COLUMNS)}) "  # noqa: S608  (names of ours)
    f"VALUES (%s, {', '.join(['%s'] * len(_COLUMNS))}) ON CONFLICT DO NOTHING RETURNING instrument_id"
)
_READ = f"""
SELECT i.symbol AS instrument, {", ".join(f"p.{name}" for name in _COLUMNS)}, p.made_at, m.input_names
FROM research.predictions p
JOIN market.instruments i USING (instrument_id)
JOIN research.models m USING (model_id)
WHERE (%(ids)s::int[] IS NULL OR p.instrument_id = ANY(%(ids)s))
  AND (%(strategy)s::text IS NULL OR p.strategy = %(strategy)s)
  AND (%(start)s::timestamptz IS NULL OR p.signal_ts >= %(start)s)
  AND (%(end)s::timestamptz IS NULL OR p.signal_ts < %(end)s)
ORDER BY p.signal_ts DESC, i.symbol, p.strategy LIMIT %(limit)s OFFSET %(offset)s
"""  # noqa: S608  (names of ours)
_MADE = """
SELECT i.symbol, p.signal_ts FROM research.predictions p JOIN market.instruments i USING (instrument_id)
WHERE p.strategy = %s AND p.signal_ts >= %s AND p.signal_ts < %s
"""
#: What trading asks of predictions.
_ANSWERS = """
SELECT p.strategy, i.symbol, p.signal_ts, p.params_hash, p.ml_mode, p.probability, p.p_star, p.model_id
FROM research.predictions p JOIN market.instruments i USING (instrument_id)
WHERE p.signal_ts >= %s AND p.signal_ts < %s AND (%s::timestamptz IS NULL OR p.made_at <= %s)
ORDER BY p.signal_ts, p.strategy, i.symbol
"""
ANSWER_SCHEMA: dict[str, pl.DataType] = {
    "strategy": pl.String(),
    "instrument": pl.String(),
    "signal_ts": UTC_MS,
    "params_hash": pl.String(),
    "ml_mode": pl.String(),
    "probability": pl.Float64(),
    "p_star": pl.Float64(),
    "model_id": pl.String(),
}


@fork_safety.with_parts
class Predictions:
    """Reads and writes ``research.predictions``. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def put(self, rows: Sequence[PredictionRow]) -> list[PredictionRow]:
        """Store predictions in one transaction; of a subject that has one already the stored one stays.

        Returns those that were stored. Raises StoreError for an unknown instrument.
        """
        if not rows:
            return []
        ids = self._symbols.ids(sorted({row.instrument for row in rows}))
        values = [(ids[row.instrument], *(_value(getattr(row, name)) for name in _COLUMNS)) for row in rows]
        if len(rows) == 1:  # one round trip: the statement is the transaction
            return list(rows) if self._connections.rows(_INSERT, values[0]) else []

        def work(connection: psycopg.Connection[Any]) -> list[PredictionRow]:
            with connection.cursor() as cursor:
                cursor.executemany(_INSERT, values, returning=True)
                stored = []
                for row in rows:
                    if cursor.fetchone() is not None:
                        stored.append(row)
                    cursor.nextset()
                return stored

        return self._connections.run(work)

    def made(self, strategy: str, start: datetime, end: datetime) -> set[tuple[str, datetime]]:
        """Instrument and signal bar of every prediction of a strategy whose signal bar opened in ``[start, end)``."""
        rows = self._connections.rows(_MADE, [strategy, require_utc(start), require_utc(end)])
        return {(name, opened.astimezone(UTC)) for name, opened in rows}

    def answers(self, start: datetime, end: datetime, *, as_of: datetime | None = None) -> pl.DataFrame:
        """Probabilities of signals whose bar opened in ``[start, end)``, in ANSWER_SCHEMA, by signal.

        ``as_of``: those that were made by then. A probability is null where the model refused.
        """
        made_by = None if as_of is None else require_utc(as_of)
        rows = self._connections.rows(_ANSWERS, [require_utc(start), require_utc(end), made_by, made_by])
        return pl.DataFrame(rows, schema=ANSWER_SCHEMA, orient="row")

    def read(
        self,
        instruments: Sequence[str] | None = None,
        strategy: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        limit: int = 1_000,
        offset: int = 0,
    ) -> list[tuple[PredictionRow, tuple[str, ...]]]:
        """Predictions of signals in ``[start, end)``, the newest first, each with the names of its inputs.

        Raises StoreError for an unknown instrument.
        """
        asked = {
            "ids": None if instruments is None else list(self._symbols.ids(instruments).values()),
            "strategy": strategy,
            "start": None if start is None else require_utc(start),
            "end": None if end is None else require_utc(end),
            "limit": limit,
            "offset": offset,
        }

        def work(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
            with connection.cursor(row_factory=dict_row) as cursor:
                return cursor.execute(_READ, asked).fetchall()

        return [_row(found) for found in self._connections.run(work)]


def _value(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _row(found: dict[str, Any]) -> tuple[PredictionRow, tuple[str, ...]]:
    names = tuple(found.pop("input_names"))
    for name in ("inputs", "contributions"):
        found[name] = found[name] and tuple(found[name])
    return PredictionRow(**found), names
