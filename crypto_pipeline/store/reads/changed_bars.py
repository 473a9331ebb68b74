"""Which days of a series changed, and the bars in them that were recorded lately: for who follows changes.

Days are told by the versions of their coverage cells, which change in the transaction that changes the bars.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.columns.bars import RANKS
from crypto_pipeline.store.database.pool import Connections

_SOURCES = {rank: name for name, rank in RANKS.items()}

_CELLS = """
SELECT instrument_id, day, data_version, present FROM market.coverage
WHERE timeframe = %s AND instrument_id = ANY(%s) AND data_version > 0
"""

_RECORDED = """
SELECT w.id, (extract(epoch FROM o.open_time) * 1000)::bigint, o.open, o.high, o.low, o.close, o.volume, o.trade_count,
       o.source_rank, o.complete, (extract(epoch FROM o.recorded_at) * 1000000)::bigint
FROM unnest(%(ids)s::int[], %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(since)s::timestamptz[])
     AS w (id, starts, ends, since)
CROSS JOIN LATERAL (
    SELECT * FROM market.ohlc_data d
    WHERE d.instrument_id = w.id AND d.timeframe = %(timeframe)s AND d.open_time >= w.starts AND d.open_time < w.ends
      AND d.recorded_at > w.since
) AS o
ORDER BY w.id, o.open_time
"""


@dataclass(frozen=True, slots=True)
class CellVersion:
    """What a coverage cell says of its bars: the data version, and how many are stored."""

    data_version: int
    present: int


@dataclass(frozen=True, slots=True)
class RecordedSpan:
    """Bars of one instrument that open in ``[start, end)`` and were recorded after ``since``; times are UTC."""

    instrument: str
    start: datetime
    end: datetime
    since: datetime


@dataclass(frozen=True, slots=True)
class RecordedBar:
    """A stored bar. ``open_ms`` is in Unix milliseconds, ``recorded_us`` in Unix microseconds."""

    instrument: str
    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trade_count: int | None
    source: str
    complete: bool
    recorded_us: int


class ChangedBars:
    """Reads versions of days and bars by the time of recording, from the table alone. Thread-safe."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def cells(self, timeframe: Timeframe, ids: Mapping[str, int]) -> dict[str, dict[date, CellVersion]]:
        """Per instrument (name to number in ``ids``) the cells of all days in which something is known."""
        names = {number: name for name, number in ids.items()}
        found: dict[str, dict[date, CellVersion]] = {name: {} for name in ids}
        for number, day, version, present in self._connections.rows(_CELLS, [str(timeframe), list(names)]):
            found[names[number]][day] = CellVersion(version, present)
        return found

    def recorded(
        self, timeframe: Timeframe, spans: Sequence[RecordedSpan], ids: Mapping[str, int]
    ) -> Collection[RecordedBar]:
        """The bars of the spans, by instrument and time. Spans of one instrument must not overlap."""
        names = {number: name for name, number in ids.items()}
        values = {
            "timeframe": str(timeframe), "ids": [ids[one.instrument] for one in spans],
            "starts": [one.start for one in spans], "ends": [one.end for one in spans],
            "since": [one.since for one in spans],
        }  # fmt: skip
        rows = self._connections.rows(_RECORDED, values)
        return [
            RecordedBar(names[number], at, o, high, low, close, volume, count, _SOURCES[rank], complete, recorded)
            for number, at, o, high, low, close, volume, count, rank, complete, recorded in rows
        ]
