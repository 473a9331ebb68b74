"""Reads of few bars of one series by many threads: one statement and one frame for all waiting reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl

from crypto_pipeline.store.columns import frames as bar_frames
from crypto_pipeline.store.columns.frames import InstrumentNames
from crypto_pipeline.store.database.coalescer import QueryCoalescer
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.reads import queries
from crypto_pipeline.store.reads.queries import Wanted

#: Queries of up to this many bars are combined, because the round trip takes longer than the bars; and the greatest
#: number of bars of one statement, for which other queries wait.
FEW_BARS, MOST_BARS = 500, 6_000

#: The table's bars, the archive files with a part of the span, and the end of the newest file.
Found = tuple[pl.DataFrame, list[int], datetime | None]


@dataclass(frozen=True, slots=True)
class _Asked:
    wanted: Wanted
    name: str
    needed: tuple[str, ...]


class SmallReads:
    """Reads few bars of the table, several queries at a time. Thread-safe."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.coalescer: QueryCoalescer[_Asked, Found] = QueryCoalescer(self._work, connections.patience, MOST_BARS)

    def ask(self, wanted: Wanted, name: str, needed: Sequence[str]) -> Found:
        """Bars of the only instrument of ``wanted``, in the ``needed`` columns."""
        asked = _Asked(wanted, name, tuple(needed))
        kind = (wanted.timeframe, wanted.last is None, wanted.as_of is None, wanted.complete, asked.needed)
        return self.coalescer.ask(kind, asked, wanted.most)

    def _work(self, several: Sequence[_Asked]) -> list[Found]:
        first = several[0]
        if len(several) == 1:
            return [packed(self._connections, first.wanted, {first.name: first.wanted.ids[0]}, first.needed)]
        columns = tuple(name for name in first.wanted.columns if name != "instrument_id")
        questions = [replace(asked.wanted, columns=columns) for asked in several]
        numbers, begins, ends, *arrays = self._connections.row(*queries.packed_together(questions))
        frames = bar_frames.frames_together(columns, arrays, [asked.name for asked in several], first.needed)
        files = list(zip(numbers or (), begins or (), ends or (), strict=True))
        return [(frame, *_touching(files, asked)) for frame, asked in zip(frames, questions, strict=True)]


def packed(connections: Connections, wanted: Wanted, ids: dict[str, int], needed: Sequence[str]) -> Found:
    """Run one packed query for any instruments, alone; the result is as of ``SmallReads.ask``."""
    files, until, *arrays = connections.row(*queries.packed(wanted))
    return bar_frames.packed_bars(wanted.columns, arrays, InstrumentNames(ids), needed), files or [], until


def _touching(files: Sequence[tuple[int, datetime, datetime]], wanted: Wanted) -> tuple[list[int], datetime | None]:
    mine = [file for file in files if file[1] < wanted.until and file[2] > wanted.begin]
    return [number for number, _, _ in mine], max((end for _, _, end in mine), default=None)
