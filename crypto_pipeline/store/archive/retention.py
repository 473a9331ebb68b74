"""Retention: which spans are due to be archived or dropped, and the work on them, which may stop at any moment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.retention import RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import month_number, month_start
from crypto_pipeline.store.archive import catalogue, detach
from crypto_pipeline.store.archive.archiver import Archived, Archiver
from crypto_pipeline.store.archive.catalogue import Kind
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.market_clock import market_now
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.sessions.exclusive import exclusively
from crypto_pipeline.store.partitions import compaction, swap, trades
from crypto_pipeline.store.partitions import span as archive_spans
from crypto_pipeline.store.partitions.compaction import Compacted
from crypto_pipeline.store.partitions.span import Span

log = logging.getLogger(__name__)

Progress = Callable[[str], None]
#: Longest time that a month with unexplained gaps waits for healing before it is archived with the gaps.
PATIENCE = timedelta(days=30)
_LOCK = 0x7265746E  # "retn"
#: Refused bars and trades are deleted if the venue has not sent them again for this long.
APART_KEPT = timedelta(days=90)
_APART = ("bars_apart", "trades_apart")
_FORGET_APART = "DELETE FROM market.{} WHERE last_seen < clock_timestamp() - %s"

_MONTHS = """
SELECT date_trunc('month', day)::date AS month, sum(present - archived)::bigint AS rows,
       sum(greatest(expected - present - explained, 0))::bigint AS missing
FROM market.coverage WHERE timeframe = %s AND day < %s
GROUP BY 1 HAVING sum(present - archived) > 0 ORDER BY 1
"""
_HELD = """
SELECT FROM market.archive_files
WHERE status = 'retired' AND retired_at > clock_timestamp() AND timeframe = %(timeframe)s
  AND first_open < %(end)s AND end_open > %(start)s
"""
_DROP_CELLS = """
UPDATE market.coverage
SET present = present - archived, archived = 0, expected = least(expected, present - archived + explained),
    final = least(expected, present - archived + explained) > 0, updated_at = now(),
    data_version = CASE WHEN archived > 0 THEN nextval('market.data_version') ELSE data_version END
WHERE timeframe = %(timeframe)s AND day >= %(first)s AND day < %(until)s
"""
_DROP_FILES = """
UPDATE market.archive_files SET status = 'retired', retired_at = clock_timestamp()
WHERE status = 'current' AND timeframe = %(timeframe)s AND first_open = %(start)s AND end_open = %(end)s
  AND kind = ANY(%(kinds)s)
"""
_EMPTY_CELLS = "DELETE FROM market.coverage WHERE timeframe = %s AND day < %s AND present = 0"
# Records about bars that are no longer expected are deleted with their cells.
_ITS_CELLS = """
    SELECT FROM market.coverage c WHERE c.instrument_id = t.instrument_id AND c.timeframe = t.timeframe
    AND c.day BETWEEN (t.{first} AT TIME ZONE 'UTC')::date AND (t.{last} AT TIME ZONE 'UTC')::date
"""
_OLD_GAPS = f"""
DELETE FROM market.gaps t WHERE t.timeframe = %s AND t.end_time <= %s
  AND NOT EXISTS ({_ITS_CELLS.format(first="start_time", last="end_time")})
"""  # noqa: S608  (constants only)
_OLD_DISPUTES = f"""
DELETE FROM market.reconciliations t WHERE t.timeframe = %s AND t.open_time < %s
  AND NOT EXISTS ({_ITS_CELLS.format(first="open_time", last="open_time")})
"""  # noqa: S608  (constants only)
_OLD_COMPARISONS = """
DELETE FROM market.comparisons t WHERE t.timeframe = %s AND t.day < %s
  AND NOT EXISTS (SELECT FROM market.coverage c
                  WHERE c.instrument_id = t.instrument_id AND c.timeframe = t.timeframe AND c.day = t.day)
"""


@dataclass(frozen=True, slots=True)
class Due:
    """A span that is to leave its table.

    Attributes:
        span: Of a partition.
        rows: That would leave.
        archived: Whether they go to files; else they are dropped.
        waits: Why not yet; None: now.
    """

    span: Span
    rows: int
    archived: bool
    waits: str | None = None


@dataclass(slots=True)
class RetentionReport:
    """Result of one run."""

    archived: list[Archived] = field(default_factory=list)
    dropped: list[Due] = field(default_factory=list)
    expired: list[Span] = field(default_factory=list)
    waiting: list[Due] = field(default_factory=list)
    #: Failures, in words; all other spans were processed.
    failed: list[str] = field(default_factory=list)
    files_removed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The report as a dict of plain figures, for metadata and JSON."""
        return {
            "archived_spans": len(self.archived),
            "archived_rows": sum(one.rows for one in self.archived),
            "archived_revisions": sum(one.revisions for one in self.archived),
            "archived_bytes": sum(one.bytes for one in self.archived),
            "archive_seconds": round(sum(one.export_seconds for one in self.archived), 3),
            "longest_switch_seconds": round(max((one.switch_seconds for one in self.archived), default=0.0), 3),
            "dropped_spans": [str(one.span) for one in self.dropped],
            "dropped_rows": sum(one.rows for one in self.dropped),
            "expired_from_archive": [str(span) for span in self.expired],
            "waiting": {str(one.span): one.waits for one in self.waiting},
            "failed": self.failed,
            "files_removed": self.files_removed,
        }


class Retention:
    """Applies a policy. ``scratch`` is a folder on this machine that nothing else uses. One run at a time."""

    def __init__(
        self, connections: Connections, storage: ArchiveStorage, scratch: Path, policy: RetentionPolicy
    ) -> None:
        self._connections, self.policy = connections, policy
        self.archiver = Archiver(connections, storage, scratch)

    def _now(self) -> datetime:
        return self._connections.run(market_now)[0]

    def due(self, now: datetime | None = None) -> list[Due]:
        """Spans that the next run removes from tables, oldest first within each timeframe, and those that wait."""
        now = now or self._now()
        found: list[Due] = []
        for timeframe in Timeframe:
            found += self._months(timeframe, now)
        return found + self._days(now)

    def _months(self, timeframe: Timeframe, now: datetime) -> Iterator[Due]:
        limit = self.policy.hot_start(timeframe, now)
        if limit is None:
            return
        first_kept = month_start(month_number(limit))
        kept = self.policy.kept_start(timeframe, now)
        rows = self._connections.run(
            lambda connection: connection.execute(_MONTHS, [str(timeframe), first_kept.date()]).fetchall()
        )
        for month, _, missing in rows:
            span = Span.month(timeframe, month_number(month))
            going = self._connections.run(detach.rows_to_detach, span, self.policy.min_bars)
            if not going:
                continue
            # a month that has expired for the archive as well is dropped without archiving
            archived = self.policy.bars[timeframe].archived and (kept is None or span.end > kept)
            waits = None
            if self._connections.run(_is_held, span):
                waits = "restored from the archive, and to be kept for a while"
            elif archived and missing and limit < span.end + PATIENCE:
                waits = f"{missing:,} bars are missing without a reason; healing gets time to find one"
            yield Due(span, going, archived, waits)

    def _days(self, now: datetime) -> list[Due]:
        limit = self.policy.hot_start(None, now)
        assert limit is not None, "trades are always kept for some days only"
        days = [day for day in self._connections.run(trades.days) if day < limit.date()]
        found = []
        for day in days:
            span = Span.day(day)
            held = self._connections.run(_is_held, span)
            rows = self._connections.run(detach.rows_to_detach, span, 0)
            found.append(Due(span, rows, self.policy.trades.archived, "restored from the archive" if held else None))
        return found

    def run(self, now: datetime | None = None, progress: Progress = log.info) -> RetentionReport:
        """Archive and drop everything that is due at ``now`` (UTC; default: the market's time).

        Raises StoreError when another run is active, and at the end for spans that failed; a failed span does not stop
        the others.
        """
        now = now or self._now()
        report = RetentionReport()
        with self.exclusive():
            self.archiver.recover()
            for due in self.due(now):
                try:
                    self._let_go(due, report, progress)
                except StoreError as error:
                    report.failed.append(f"{due.span}: {error}")
                    progress(report.failed[-1])
            report.expired = self._expire(now, progress)
            report.files_removed = self.archiver.remove_retired()
            for table in _APART:
                self._connections.run(_forget_apart, table)
        if report.failed:
            raise StoreError("; ".join(report.failed))
        return report

    def _let_go(self, due: Due, report: RetentionReport, progress: Progress) -> None:
        if due.waits:
            report.waiting.append(due)
            progress(f"{due.span} waits: {due.waits}")
        elif due.archived and due.rows:
            done = self.archiver.archive(due.span, self.policy.min_bars)
            report.archived.append(done)
            progress(
                f"{due.span}: {done.rows:,} rows archived in {done.bytes:,} bytes, {done.export_seconds:.1f} s; "
                f"left the table in {done.switch_seconds * 1000:.0f} ms"
            )
        else:
            self.drop(due.span)
            report.dropped.append(due)
            progress(f"{due.span}: {due.rows:,} rows dropped by the retention policy")

    def drop(self, span: Span) -> None:
        """Delete the rows of a span for good, except the newest bars of each series."""
        found = self._connections.run(archive_spans.fingerprint, span)
        numbers = list(self._connections.run(archive_spans.symbols, span).values())
        cells = self._connections.run(_cells, span) if span.timeframe is not None else _no_cells(numbers)
        detach.detach(self._connections, span, found.text, cells, [], self.policy.min_bars)
        swap.drop_leftovers(self._connections)

    def compact(self, now: datetime | None = None, progress: Progress = log.info) -> list[Compacted]:
        """Sort closed months of 1m bars by their key, each month once. Raises StoreError as ``run`` does."""
        now = now or self._now()
        done = []
        with self.exclusive():
            swap.drop_leftovers(self._connections)
            for span in self._connections.run(compaction.closed_months, Timeframe.M1, now):
                done.append(compaction.compact(self._connections, span))
                progress(f"{span} compacted: {done[-1].rows:,} rows in {done[-1].seconds:.1f} s")
        return done

    def _expire(self, now: datetime, progress: Progress) -> list[Span]:
        """Remove expired archive files, empty cells, and the records about their bars."""
        gone = []
        for timeframe in (*Timeframe, None):
            limit = self.policy.kept_start(timeframe, now)
            if limit is None:
                continue
            kind: Kind = "bars" if timeframe is not None else "trades"
            for file in self._connections.run(catalogue.find, kind, timeframe, None, limit):
                if file.end_open <= limit:
                    span = Span(file.timeframe, file.first_open, file.end_open)
                    self._connections.run(_expire, span)
                    gone.append(span)
                    progress(f"{span} is removed from the archive: it has expired")
            if timeframe is not None:
                self._connections.run(_forget_cells, timeframe, month_start(month_number(limit)))
        return gone

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold retention's lock for the block; the database releases it when the process ends in any way."""
        with exclusively(self._connections, _LOCK, "retention"):
            yield


def _forget_apart(connection: psycopg.Connection[Any], table: str) -> None:
    """Delete old records of refused, contradicted or replaced rows that the venue no longer sends."""
    connection.execute(_FORGET_APART.format(table), [APART_KEPT])


def _is_held(connection: psycopg.Connection[Any], span: Span) -> bool:
    return connection.execute(_HELD, span.values()).fetchone() is not None


def _expire(connection: psycopg.Connection[Any], span: Span) -> None:
    swap.lock_out_writers(connection, span)
    connection.execute(_DROP_FILES, span.values() | {"kinds": list(span.kinds)})
    if span.timeframe is not None:
        connection.execute(_DROP_CELLS, span.values())


def _forget_cells(connection: psycopg.Connection[Any], timeframe: Timeframe, before: datetime) -> None:
    """Delete empty cells, and the ledger's and reconciliation's rows about them."""
    connection.execute(_EMPTY_CELLS, [str(timeframe), before.date()])
    connection.execute(_OLD_GAPS, [str(timeframe), before])
    connection.execute(_OLD_DISPUTES, [str(timeframe), before])
    connection.execute(_OLD_COMPARISONS, [str(timeframe), before.date()])


def _cells(connection: psycopg.Connection[Any], span: Span) -> pl.DataFrame:
    rows = connection.execute(
        "SELECT instrument_id, day, 0::bigint FROM market.coverage "
        "WHERE timeframe = %(timeframe)s AND day >= %(first)s AND day < %(until)s",
        span.values(),
    ).fetchall()
    return pl.DataFrame(rows, schema={"instrument_id": pl.Int32(), "day": pl.Date(), "rows": pl.Int64()}, orient="row")


def _no_cells(numbers: list[int]) -> pl.DataFrame:
    return pl.DataFrame({"instrument_id": numbers}, schema={"instrument_id": pl.Int32()})
