"""Failovers: spans with bars of a substitute venue (``market.failovers``), until the first venue sends its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import polars as pl
from sqlalchemy import Connection, Update, case, cast, func, insert, or_, select, text, update

from crypto_pipeline.market.bars import STAND_IN, UTC_MS
from crypto_pipeline.market.precedence import SOURCE_RANKS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.frames import core_frame, named, require_columns
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.schema.tables import FAILOVERS

Reason = Literal["unavailable", "disputed"]

#: Schema of ``open``.
FAILOVER_SCHEMA: dict[str, pl.DataType] = {
    "failover_id": pl.Int64(),
    "instrument": pl.String(),
    "timeframe": pl.String(),
    "start": UTC_MS,
    "end": UTC_MS,
    "venue": pl.String(),
    "instead_of": pl.String(),
    "reason": pl.String(),
    "because": pl.String(),
    "attempts": pl.Int32(),
    "taken_at": UTC_MS,
    "next_attempt": UTC_MS,
}
#: Seconds after its start in which a span's bars may still be in writing.
_FRESH = 60.0

_SPANS = FAILOVERS.c
#: The columns of ``FAILOVER_SCHEMA`` in the table.
_COLUMNS = [
    _SPANS.failover_id, _SPANS.instrument_id, _SPANS.timeframe, _SPANS.start_time.label("start"),
    _SPANS.end_time.label("end"), _SPANS.venue, _SPANS.instead_of, _SPANS.reason, _SPANS.because, _SPANS.attempts,
    _SPANS.taken_at, _SPANS.next_attempt,
]  # fmt: skip
_STORED = {("instrument_id" if name == "instrument" else name): dtype for name, dtype in FAILOVER_SCHEMA.items()}
_STORED["instrument_id"] = pl.Int32()

# Whether the span has no bar of another venue any more.
_NO_BAR_LEFT = text(
    "NOT EXISTS (SELECT FROM market.ohlc_data o WHERE o.instrument_id = market.failovers.instrument_id "
    "AND o.timeframe = market.failovers.timeframe AND o.open_time >= market.failovers.start_time "
    "AND o.open_time < market.failovers.end_time AND o.source_rank = ANY(:ranks))"
)


class Failovers:
    """Reads and writes ``market.failovers``. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols
        self._ranks = sorted(SOURCE_RANKS[source] for source in STAND_IN)

    def record(
        self,
        spans: pl.DataFrame,
        timeframe: Timeframe,
        venue: str,
        instead_of: str,
        reason: Reason,
        because: str,
        again: datetime | None,
    ) -> None:
        """Record that ``spans`` (``instrument``, ``start``, ``end``) have bars of the substitute ``venue``.

        Call it before the bars are written: a span without such bars closes by itself, but bars without a span would
        never be replaced. ``again`` is the time (UTC) at which the first venue is asked for its bars; None: never.
        """
        require_columns(spans, ["instrument", "start", "end"], "a frame of spans")
        ids = self._symbols.ids(spans["instrument"].unique().to_list())
        fixed = {
            "timeframe": str(timeframe), "venue": venue, "instead_of": instead_of, "reason": reason,
            "because": because[:500].replace("\x00", ""), "next_attempt": again,
        }  # fmt: skip
        rows = [
            fixed | {"instrument_id": ids[name], "start_time": start, "end_time": end}
            for name, start, end in spans.select("instrument", "start", "end").sort("instrument", "start").iter_rows()
        ]

        def work(connection: Connection) -> None:
            for row in rows:
                if connection.execute(_extended(row)).rowcount == 0:
                    connection.execute(insert(FAILOVERS).values(row))

        self._connections.run_core(work)

    def open(self, instead_of: str, timeframe: Timeframe | None = None, reason: Reason | None = None) -> pl.DataFrame:
        """Spans whose bars the venue ``instead_of`` has not sent yet, in FAILOVER_SCHEMA, by instrument and start."""
        ids = {symbol: number for number, symbol in self._symbols.names().items()}
        query = select(*_COLUMNS).where(_SPANS.closed_at.is_(None), _SPANS.instead_of == instead_of)
        if timeframe is not None:
            query = query.where(_SPANS.timeframe == str(timeframe))
        if reason is not None:
            query = query.where(_SPANS.reason == reason)
        rows = named(core_frame(self._connections, query, _STORED), ids).select(*FAILOVER_SCHEMA)
        return rows.sort("instrument", "start")

    def due(self, instead_of: str, now: datetime, timeframe: Timeframe | None = None) -> pl.DataFrame:
        """Those of the open spans for which the venue is to be asked by ``now`` (UTC)."""
        return self.open(instead_of, timeframe).filter(pl.col("next_attempt") <= now)

    def asked(self, ids: Sequence[int], now: datetime, wait: timedelta, most: int) -> None:
        """Record that the venue answered for these spans: the next request is ``wait`` after ``now``, then four
        times later.

        After ``most`` answers without the bars the span is closed, and the substitute's bars are kept.
        """
        attempts = _SPANS.attempts + 1
        last = attempts >= most
        pause = wait * func.power(4.0, func.least(_SPANS.attempts, 7))
        statement = (
            update(FAILOVERS)
            .where(_SPANS.failover_id.in_(ids), _SPANS.closed_at.is_(None))
            .values(
                attempts=attempts,
                next_attempt=cast(now, _SPANS.next_attempt.type) + pause,
                closed_at=case((last, func.now())),
                outcome=case((last, "kept")),
            )
        )
        self._connections.run_core(lambda connection: connection.execute(statement) and None)

    def close_replaced(self, instead_of: str, ids: Iterable[int] = ()) -> int:
        """Close spans without bars of another venue; return how many.

        A span that was recorded just now stays open, because its bars may not be written yet, unless it is in ``ids``.
        """
        settled = func.clock_timestamp() - timedelta(seconds=_FRESH)
        statement = (
            update(FAILOVERS)
            .where(
                _SPANS.closed_at.is_(None),
                _SPANS.instead_of == instead_of,
                or_(_SPANS.taken_at < settled, _SPANS.failover_id.in_(list(ids))),
                _NO_BAR_LEFT.bindparams(ranks=self._ranks),
            )
            .values(closed_at=func.now(), outcome="replaced", next_attempt=None)
        )
        return self._connections.run_core(lambda connection: connection.execute(statement).rowcount)


def _extended(row: dict[str, Any]) -> Update:
    """Extend the open span that ``row`` touches, so that a span over several passes stays one row."""
    same = ("instrument_id", "timeframe", "venue", "instead_of", "reason")
    first = (
        select(_SPANS.failover_id)
        .where(
            _SPANS.closed_at.is_(None),
            *(_SPANS[name] == row[name] for name in same),
            _SPANS.start_time <= row["end_time"],
            _SPANS.end_time >= row["start_time"],
        )
        .order_by(_SPANS.failover_id)
        .limit(1)
        .with_for_update()
    )
    return (
        update(FAILOVERS)
        .where(_SPANS.failover_id == first.scalar_subquery())
        .values(
            start_time=func.least(_SPANS.start_time, row["start_time"]),
            end_time=func.greatest(_SPANS.end_time, row["end_time"]),
            because=row["because"],
            taken_at=func.clock_timestamp(),
            next_attempt=row["next_attempt"],
        )
    )
