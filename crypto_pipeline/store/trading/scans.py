"""Scans in the database: every closed bar once and in order, kept raw for some days and in numbers for longer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.timeframes import require_utc
from crypto_pipeline.market.times import midnight
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.frames import named, numbered
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.trading import scan_partitions
from crypto_pipeline.store.trading.scan_columns import SCAN_SCHEMA, ScanConditions

_CONDITION_COLUMNS = ("strategy", "params_hash", "names", "comparisons", "thresholds", "meanings")
_DECLARE = f"""
INSERT INTO trading.scan_conditions ({", ".join(_CONDITION_COLUMNS)}) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (strategy, params_hash, names, comparisons, thresholds) DO UPDATE SET meanings = excluded.meanings
RETURNING condition_set
"""  # noqa: S608  (names of ours)
_CONDITIONS = f"SELECT condition_set, {', '.join(_CONDITION_COLUMNS)} FROM trading.scan_conditions"  # noqa: S608
_COPIED = (
    "signal_ts", "instrument_id", "failed", "confidence_score", "condition_set", "market_regime", "stress", "strategy",
    "decision", "reason", "values", "metadata",
)  # fmt: skip
_COPY = f"COPY trading.scan_history ({', '.join(f'{chr(34)}{name}{chr(34)}' for name in _COPIED)}) FROM STDIN"
_BEGIN = """
INSERT INTO trading.scan_progress (scanned_from, scanned_until) VALUES (%s, %s) ON CONFLICT DO NOTHING
"""
_PROGRESS = "SELECT scanned_from, scanned_until, waits_since FROM trading.scan_progress"
_READ = """
SELECT h.strategy, h.instrument_id, h.signal_ts, c.params_hash, h.decision, h.reason, h.failed, h."values",
       h.market_regime, h.stress, h.confidence_score, h.metadata::text AS metadata, h.condition_set, h.scanned_at
FROM trading.scan_history h JOIN trading.scan_conditions c USING (condition_set)
WHERE h.signal_ts >= $1 AND h.signal_ts < $2 AND ($3::int[] IS NULL OR h.instrument_id = ANY($3))
  AND ($4::text IS NULL OR h.strategy = $4) AND ($5::text IS NULL OR h.decision = $5)
"""
_COUNTS = """
SELECT signal_ts, strategy, count(*) AS scans, count(*) FILTER (WHERE decision = 'TAKE') AS takes,
       count(*) FILTER (WHERE decision = 'NEAR_MISS') AS near_misses
FROM trading.scan_history WHERE signal_ts >= $1 AND signal_ts < $2 GROUP BY 1, 2
"""
_DAYS = """
SELECT day, instrument_id, strategy, condition_set, scans, takes, near_misses, unjudged, failures, near
FROM trading.scan_days WHERE day >= $1 AND day < $2
"""


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """Every bar that opened in ``[scanned_from, scanned_until)`` has been scanned. ``waits_since``: since when the next
    one is waited for, by the market's clock.
    """

    scanned_from: datetime
    scanned_until: datetime
    waits_since: datetime | None


@fork_safety.with_parts
class ScanTables:
    """Reads and writes ``trading.scan_history`` and what belongs to it. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols
        self._sets: dict[ScanConditions, int] = {}

    def progress(self) -> ScanProgress | None:
        """How far bars have been scanned; None before the first pass."""
        rows = self._connections.rows(_PROGRESS)
        return ScanProgress(*rows[0]) if rows else None

    def begin(self, start: datetime) -> ScanProgress:
        """Begin with the bars that open from ``start`` (UTC) on; what has begun stays. Returns the progress."""
        self._connections.run(lambda connection: connection.execute(_BEGIN, [require_utc(start)] * 2) and None)
        found = self.progress()
        assert found is not None
        return found

    def wait(self, since: datetime | None) -> None:
        """Record since when the next bar is waited for; None: it is not."""
        self._connections.run(
            lambda connection: connection.execute("UPDATE trading.scan_progress SET waits_since = %s", [since]).rowcount
        )

    def declare(self, conditions: ScanConditions) -> int:
        """The number of these conditions, stored at their first use."""
        if conditions not in self._sets:
            values = [
                list(value) if isinstance(value, tuple) else value
                for value in (getattr(conditions, name) for name in _CONDITION_COLUMNS)
            ]
            self._sets[conditions] = self._connections.run(
                lambda connection: int(connection.execute(_DECLARE, values).fetchone()[0])  # type: ignore[index]
            )
        return self._sets[conditions]

    def put(self, scans: pl.DataFrame, sets: Sequence[ScanConditions], after: datetime, until: datetime) -> bool:
        """Store the scans (SCAN_SCHEMA) of all bars that open in ``[after, until)``, in one transaction.

        False, and nothing stored, where bars are not scanned exactly until ``after`` any more: another pass was faster.
        ``sets``: the conditions behind the scans, one per strategy. Raises StoreError for an unknown instrument.
        """
        text = self._text(scans, {one.strategy: self.declare(one) for one in sets})
        for day in scans["signal_ts"].dt.date().unique().sort():
            self._connections.run(scan_partitions.ensure, day)

        def work(connection: psycopg.Connection[Any]) -> bool:
            row = connection.execute("SELECT scanned_until FROM trading.scan_progress FOR UPDATE").fetchone()
            if row is None or row[0] != after:
                return False
            with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                copy.write(text)
            connection.execute("UPDATE trading.scan_progress SET scanned_until = %s, waits_since = NULL", [until])
            return True

        return self._connections.run(work)

    def _text(self, scans: pl.DataFrame, sets: dict[str, int]) -> bytes:
        ids = self._symbols.ids(scans["instrument"].unique().to_list())
        values = pl.col("values").list.eval(pl.element().cast(pl.String)).list.join(",")
        table = numbered(scans, ids).with_columns(
            pl.col("signal_ts").dt.strftime("%Y-%m-%d %H:%M:%S+00"),
            pl.col("strategy").replace_strict(sets, return_dtype=pl.Int16).alias("condition_set"),
            ("{" + values + "}").alias("values"),
        )
        return (
            table.select(_COPIED)
            .write_csv(include_header=False, separator="\t", quote_style="never", null_value="\\N")
            .encode()
        )

    # Reading

    def read(
        self,
        start: datetime,
        end: datetime,
        instruments: Sequence[str] | None = None,
        *,
        strategy: str | None = None,
        decision: str | None = None,
    ) -> pl.DataFrame:
        """Scans of bars that opened in ``[start, end)``: SCAN_SCHEMA, ``condition_set`` and ``scanned_at``, sorted by
        bar, strategy and instrument. Raises StoreError for an unknown instrument.
        """
        wanted = None if instruments is None else list(self._symbols.ids(instruments).values())
        answer = self._connections.frame(_READ, [require_utc(start), require_utc(end), wanted, strategy, decision])
        frame = named(answer, self._known()).with_columns(
            *(pl.col(name).cast(dtype) for name, dtype in SCAN_SCHEMA.items() if name != "instrument")
        )
        return frame.select(*SCAN_SCHEMA, "condition_set", "scanned_at").sort("signal_ts", "strategy", "instrument")

    def conditions(self) -> dict[int, ScanConditions]:
        """Conditions by their number."""
        rows = self._connections.rows(_CONDITIONS)
        return {number: ScanConditions(strategy, params, *map(tuple, rest)) for number, strategy, params, *rest in rows}

    def days(self, first: date, until: date) -> pl.DataFrame:
        """Counted days (UTC) in ``[first, until)``: the columns of ``trading.scan_days``, with ``instrument``."""
        answer = self._connections.frame(_DAYS, [first, until])
        return named(answer, self._known()).sort("day", "strategy", "instrument")

    def counts(self, start: datetime, end: datetime) -> pl.DataFrame:
        """Scans of bars that opened in ``[start, end)``, whose rows are kept: ``signal_ts``, ``strategy``, ``scans``,
        ``takes``, ``near_misses``; sorted.
        """
        answer = self._connections.frame(_COUNTS, [require_utc(start), require_utc(end)])
        return answer.with_columns(pl.col("signal_ts").cast(SCAN_SCHEMA["signal_ts"])).sort("signal_ts", "strategy")

    def newest_takes(self) -> dict[str, datetime]:
        """The newest signal bar that was taken of each strategy, of those whose rows are kept."""
        query = "SELECT strategy, max(signal_ts) FROM trading.scan_history WHERE decision = 'TAKE' GROUP BY 1"
        return dict(self._connections.rows(query))

    def _known(self) -> dict[str, int]:
        return {name: number for number, name in self._symbols.names().items()}

    # Retention

    def summarise(self) -> list[date]:
        """Count the days that are scanned to their end and not counted yet; return them."""
        progress = self.progress()
        if progress is None:
            return []
        over = midnight(progress.scanned_until).date()
        counted = {day for (day,) in self._connections.rows("SELECT DISTINCT day FROM trading.scan_days")}
        due = [day for day in self._connections.run(scan_partitions.days) if day < over and day not in counted]
        for day in due:
            self._connections.run(scan_partitions.summarise, day)
        return due

    def forget(self, raw_before: date, counted_before: date) -> list[date]:
        """Drop the rows of days before ``raw_before`` (they are counted first) and the counts of days before
        ``counted_before``. Returns the days whose rows were dropped. Raises StoreError when readers hold a lock.
        """
        if counted_before > raw_before:
            raise StoreError("counts of scans are kept at least as long as the scans")
        gone = [day for day in self._connections.run(scan_partitions.days) if day < raw_before]
        for day in gone:
            scan_partitions.drop(self._connections, day)
        self._connections.run(
            lambda connection: (
                connection.execute("DELETE FROM trading.scan_days WHERE day < %s", [counted_before]).rowcount
            )
        )
        return gone
