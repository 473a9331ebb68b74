"""The ledger: every run of absent bars with the reason of their absence (table ``market.gaps``).

Open rows of one series never overlap. A new row replaces open rows of its span, in one transaction with the counters
of coverage, and in the same order of locks as the bar writer: cells, then series.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.coverage import ledger_sql
from crypto_pipeline.store.coverage.cell_locks import Cells, lock_series
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.frames import copy_rows, named, numbered, require_columns
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.market_clock import market_now
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.sessions.pooler import create_temporary

#: Schema of ``open`` and ``due``. ``evidence`` is JSON.
GAP_SCHEMA: dict[str, pl.DataType] = {
    "gap_id": pl.Int64(),
    "instrument": pl.String(),
    "timeframe": pl.String(),
    "start": UTC_MS,
    "end": UTC_MS,
    "bars": pl.Int32(),
    "state": pl.String(),
    "evidence": pl.String(),
    "attempts": pl.Int32(),
    "first_seen": UTC_MS,
    "last_attempt": UTC_MS,
    "next_attempt": UTC_MS,
    "closed_at": UTC_MS,
    "note": pl.String(),
}
#: States in which the bars of a row are asked for again; recording one of them counts as an attempt.
WAITING = ("pending", "lost", "unproven")
STATES = (*WAITING, "no_trade", "venue_outage", "not_listed", "delisted", "unfillable")


class Ledger:
    """Reads and writes the ledger. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def record(self, frame: pl.DataFrame, next_attempt: datetime | None = None) -> int:
        """Record absent bars and their reasons; return the number of rows.

        ``frame`` has ``instrument``, ``timeframe``, ``start``, ``end`` (on the grid), ``state``, ``evidence`` (JSON)
        and, if it differs by row, ``next_attempt``. An open row that overlaps a new row keeps only its part outside of
        the new row's span. The new row inherits the time of first detection and the number of attempts. The states
        ``WAITING`` add one attempt, unless the frame has ``attempted`` and it is false (a person's request between the
        regular attempts). Bars that are stored by now are excluded. Spans of one series must not overlap. A ``note`` in
        the frame stays with the row. One transaction per timeframe. Raises StoreError for an invalid row.
        """
        require_columns(frame, ["instrument", "timeframe", "start", "end", "state", "evidence"], "a frame of gaps")
        if frame.is_empty():
            return 0
        if "next_attempt" not in frame.columns:
            frame = frame.with_columns(pl.lit(next_attempt, UTC_MS).alias("next_attempt"))
        if "attempted" not in frame.columns:
            frame = frame.with_columns(pl.lit(True).alias("attempted"))
        if "note" not in frame.columns:
            frame = frame.with_columns(pl.lit(None, pl.String).alias("note"))
        ids = self._symbols.ids(frame["instrument"].unique().to_list())
        for name in frame["timeframe"].unique(maintain_order=True):
            timeframe = Timeframe.parse(str(name))
            rows = _checked(frame.filter(pl.col("timeframe") == name), timeframe)
            self._connections.run(_record, timeframe, numbered(rows, ids).sort("instrument_id", "start"))
        return frame.height

    def open(
        self,
        timeframe: Timeframe | None = None,
        instruments: Sequence[str] | None = None,
        states: Sequence[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        as_of: datetime | None = None,
    ) -> pl.DataFrame:
        """Open rows that overlap ``[start, end)``, in GAP_SCHEMA, sorted by instrument, timeframe and start.

        Default: the rows of all collected instruments. ``as_of`` (aware): the rows that were open then, with what is
        said of them now; one that is healed by now has the state that it had before.
        """
        if as_of is not None:
            return self._rows(ledger_sql.OPEN_THEN, timeframe, instruments, states, start, end, as_of)
        return self._rows(ledger_sql.OPEN, timeframe, instruments, states, start, end)

    def due(self, now: datetime | None = None) -> pl.DataFrame:
        """Waiting rows whose next attempt is due at ``now`` (UTC; default: the market's time)."""
        waiting = self.open(states=WAITING)
        moment = self._connections.run(market_now)[0] if now is None else now
        return waiting.filter(pl.col("next_attempt").is_null() | (pl.col("next_attempt") <= moment))

    def healed(
        self, timeframe: Timeframe | None = None, start: datetime | None = None, end: datetime | None = None
    ) -> pl.DataFrame:
        """Closed rows that overlap ``[start, end)``: gaps that have been filled."""
        return self._rows(ledger_sql.CLOSED, timeframe, None, None, start, end)

    def row(self, gap_id: int) -> dict[str, Any]:
        """One open row with the columns of GAP_SCHEMA. Raises StoreError if it does not exist or is closed."""
        found = self._connections.run(lambda connection: connection.execute(ledger_sql.ONE, [gap_id]).fetchone())
        rows = self.open(Timeframe(found[1]), start=found[2], end=found[3]) if found else pl.DataFrame()
        for row in rows.iter_rows(named=True):
            if row["gap_id"] == gap_id:
                return row
        raise StoreError(f"the ledger has no open row {gap_id}: see `crypto-pipeline gaps`")

    def counts(self) -> dict[tuple[str, str], int]:
        """Number of absent bars of the open rows by (timeframe, state)."""
        answer = self._connections.frame(ledger_sql.COUNTS)
        return {(timeframe, state): bars for timeframe, state, bars in answer.iter_rows()}

    def reopen(self, gap_id: int, note: str) -> None:
        """Reset the attempts of an open row, so that its bars are requested again. ``note`` is a person's reason.

        Raises StoreError if the row does not exist or is closed.
        """
        self._connections.run(_reopen, gap_id, note)

    def _rows(
        self,
        query: str,
        timeframe: Timeframe | None,
        instruments: Sequence[str] | None,
        states: Sequence[str] | None,
        start: datetime | None,
        end: datetime | None,
        *more: object,
    ) -> pl.DataFrame:
        ids = self._symbols.ids(instruments) if instruments is not None else self._symbols.collected()
        answer = self._connections.frame(
            query,
            [
                [str(timeframe)] if timeframe is not None else [str(each) for each in Timeframe],
                list(ids.values()),
                list(states) if states is not None else [*STATES, "healed"],
                start or datetime(1, 1, 2, tzinfo=UTC),
                end or datetime(9999, 12, 31, tzinfo=UTC),
                *more,
            ],
        )
        rows = named(answer, ids).select(pl.col(name).cast(dtype) for name, dtype in GAP_SCHEMA.items())
        return rows.sort("instrument", "timeframe", "start")


def _checked(frame: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """The rows as they are stored. Raises StoreError for an invalid span or state."""
    rows = frame.select(
        "instrument",
        pl.col("start", "end").cast(UTC_MS),
        pl.col("state").cast(pl.String),
        pl.col("evidence").fill_null("{}"),
        pl.col("next_attempt").cast(UTC_MS),
        pl.col("attempted").fill_null(True),
        pl.col("note").cast(pl.String),
    ).sort("instrument", "start")
    for what, wrong in {
        "ends before it starts": pl.col("start") >= pl.col("end"),
        f"is not on the {timeframe} grid": (timeframe.floor_expr("start") != pl.col("start"))
        | (timeframe.floor_expr("end") != pl.col("end")),
        f"has a state that is none of {', '.join(STATES)}": ~pl.col("state").is_in(STATES),
        "overlaps the one before it": pl.col("start") < pl.col("end").shift(1).over("instrument"),
    }.items():
        bad = rows.filter(wrong)
        if bad.height:
            first = bad.row(0, named=True)
            raise StoreError(
                f"gap of {first['instrument']} {timeframe} {first['start'].isoformat()} – {first['end'].isoformat()} "
                f"({first['state']}) {what}"
            )
    return rows.with_columns(
        ((pl.col("end") - pl.col("start")).dt.total_minutes() // timeframe.minutes).cast(pl.Int32).alias("bars")
    )


def _cells(timeframe: Timeframe, rows: pl.DataFrame) -> Cells:
    """All coverage cells that overlap the spans."""
    day = pl.col("start").dt.date()
    first = day.dt.truncate("1w") if timeframe is Timeframe.W1 else day
    last = (pl.col("end") - pl.duration(milliseconds=1)).dt.date()
    cells = rows.select("instrument_id", pl.date_ranges(first, last, f"{timeframe.cell_days}d").alias("day")).explode(
        "day", empty_as_null=False
    )
    return Cells.from_columns(timeframe, cells["instrument_id"].to_numpy(), cells["day"].to_physical().to_numpy())


def _record(connection: psycopg.Connection[Any], timeframe: Timeframe, rows: pl.DataFrame) -> None:
    cells = _cells(timeframe, rows)
    present, _ = cells.lock(connection)
    lock_series(connection, [(int(number), timeframe) for number in rows["instrument_id"].unique()])
    before = cells.reasons(connection)
    create_temporary(connection, ledger_sql.TEMPORARY)
    copy_rows(connection, "stated_gaps", rows)
    if rows.height > 1_000:
        connection.execute("ANALYZE pg_temp.stated_gaps")
    parameters = {"timeframe": timeframe, "seconds": timeframe.seconds, "waiting": list(WAITING)}
    if present.any():
        connection.execute(ledger_sql.LEAVE_OUT_PRESENT, parameters)
    replaced = connection.execute(ledger_sql.TAKE_OUT, parameters).rowcount
    if replaced > 1_000:
        connection.execute("ANALYZE pg_temp.replaced_gaps")
    if replaced:
        connection.execute(ledger_sql.PUT_BACK_REST, parameters)
    connection.execute(ledger_sql.PUT_IN, parameters)
    cells.differing(before, cells.reasons(connection)).explain(connection, bump=True)
    connection.execute("TRUNCATE pg_temp.stated_gaps, pg_temp.replaced_gaps")


def _reopen(connection: psycopg.Connection[Any], gap_id: int, note: str) -> None:
    found = connection.execute(ledger_sql.ONE, [gap_id]).fetchone()
    if found is None:
        raise StoreError(f"the ledger has no row {gap_id}: see `crypto-pipeline gaps`")
    timeframe = Timeframe(found[1])
    rows = pl.DataFrame({"instrument_id": [found[0]], "start": [found[2]], "end": [found[3]]})
    cells = _cells(timeframe, rows)
    cells.lock(connection)
    lock_series(connection, [(found[0], timeframe)])
    # the span may have shrunk since it was read, but never grown
    if connection.execute(ledger_sql.REOPEN, [note, gap_id]).rowcount == 0:
        raise StoreError(f"row {gap_id} of the ledger is closed: its bars are stored")
    cells.explain(connection, bump=True)
