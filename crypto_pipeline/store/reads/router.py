"""Reads of bars from table and archive: the form is chosen by size, and results are merged without duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import psycopg

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.store.archive import catalogue, merge
from crypto_pipeline.store.archive.catalogue import ArchiveFile
from crypto_pipeline.store.columns import frames
from crypto_pipeline.store.columns.frames import READ_SCHEMA, InstrumentNames, columns_for
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import NeedsPolarsError, StoreError
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.reads import queries
from crypto_pipeline.store.reads.queries import EPOCH, FIRST, Wanted
from crypto_pipeline.store.reads.small_reads import FEW_BARS, Found, SmallReads, packed

if TYPE_CHECKING:
    from crypto_pipeline.store.archive.reader import Archive

#: Up to this many bars are read packed; measurements show that the stream is faster above.
PACKED_BARS = 3_000
_ATTEMPTS = 5
_KEY = ["instrument", "open_time"]
# The newest day with bars up to the files' end (weekly cells: their last day). The bars may be in a file or in the
# table.
_ARCHIVED = """
SELECT i.number, (
    SELECT c.day + CASE c.timeframe WHEN '1w' THEN 6 ELSE 0 END FROM market.coverage c
    WHERE c.instrument_id = i.number AND c.timeframe = %s AND c.day < %s AND c.present > 0
    ORDER BY c.day DESC LIMIT 1
) FROM unnest(%s::int[]) AS i (number)
"""


class BarRouter:
    """Reads bars of ``[begin, until)`` or the newest ones. Thread-safe."""

    def __init__(self, connections: Connections, archive: Archive) -> None:
        self._connections, self._archive = connections, archive
        self.small_reads = SmallReads(connections)

    def read(self, wanted: Wanted, ids: dict[str, int], columns: Sequence[str]) -> pl.DataFrame:
        """The bars with the ``columns`` of READ_SCHEMA, sorted by instrument and time. Sets ``wanted.columns``."""
        for attempt in range(_ATTEMPTS):
            try:
                return self._read(wanted, ids, columns)
            except (FileNotFoundError, _Moved) as error:
                # retention removed a file after it was read from the catalogue: try again
                if attempt == _ATTEMPTS - 1:
                    raise StoreError(
                        f"a file of the archive cannot be read ({error}): is the archive's folder reachable from here?"
                    ) from error
        raise AssertionError("unreachable")

    def _read(self, wanted: Wanted, ids: dict[str, int], columns: Sequence[str]) -> pl.DataFrame:
        extra = (["complete"] if wanted.complete else []) + (["recorded_at"] if wanted.as_of is not None else [])
        needed = list(dict.fromkeys([*_KEY, *columns, *extra]))
        asked = replace(wanted, columns=columns_for(needed))
        hot, files, archived_until = self._hot(asked, ids, needed)
        if files and wanted.last is not None:
            if not _all_newer(hot, wanted, archived_until):
                _need_polars()
                return self._newest(asked, ids, columns)
            files = []
        if files:
            _need_polars()
            merged = self._merge(hot, asked, ids, needed, files)
            if merged is None:
                return self._read(wanted, ids, list(READ_SCHEMA)).select(columns)
            hot = merged
        # with `last` the statement has excluded incomplete bars already
        if wanted.complete and wanted.last is None and not hot["complete"].all():
            hot = pl.DataFrame([column.filter(hot["complete"]) for column in hot])
        # not `select`, which takes ten times as long and uses threads
        return hot if needed == list(columns) else pl.DataFrame([hot[name] for name in columns])

    # -- the table ------------------------------------------------------------------------------------------------

    def _hot(self, wanted: Wanted, ids: dict[str, int], needed: Sequence[str]) -> Found:
        """The table's bars, the archive files with a part of the span, and the end of the newest file."""
        if not wanted.ids:
            return pl.DataFrame(schema={name: READ_SCHEMA[name] for name in needed}), [], None
        most = wanted.most
        if most <= FEW_BARS and len(ids) == 1:
            return self.small_reads.ask(wanted, next(iter(ids)), needed)
        if most <= PACKED_BARS:
            return packed(self._connections, wanted, ids, needed)
        answer = pl.DataFrame([column.rechunk() for column in self._connections.frame(queries.streamed(wanted))])
        answer, files, until = _without_marks(answer)
        columns = {name: answer[name] for name in answer.columns}
        return frames.bars(columns, InstrumentNames(ids), needed), files, until

    # -- the newest -----------------------------------------------------------------------------------------------

    def _newest(self, wanted: Wanted, ids: dict[str, int], columns: Sequence[str]) -> pl.DataFrame:
        """The newest bars if some may be archived: reads files from the newest back, until there are enough bars.

        These are several statements, so the catalogue must be the same before and after.
        """
        assert wanted.last is not None
        before = self._connections.run(_current, wanted)
        archived_until = max((file.end_open for file in before), default=FIRST)
        archived = self._connections.run(_newest_archived, wanted, ids, archived_until)
        needed = list(dict.fromkeys([*_KEY, *columns]))
        hot, _, _ = self._hot(replace(wanted, columns=columns_for(needed)), ids, needed)
        # done: nothing is archived, or only bars before the oldest one that counts
        oldest = {
            name: at.date()
            for name, count, at in hot.group_by("instrument").agg(pl.len(), pl.col("open_time").min()).iter_rows()
            if count == wanted.last
        }
        settled = {name for name in ids if archived.get(name, date.min) < oldest.get(name, date.min)} | (
            set(ids) - set(archived)
        )
        parts = [hot.filter(pl.col("instrument").is_in(list(settled)))]
        ids = {name: number for name, number in ids.items() if name not in settled}
        begins = sorted({max(file.first_open, wanted.begin) for file in before if file.kind == "bars"}, reverse=True)
        for begin in [*begins, wanted.begin] if ids else []:
            found = self._read(replace(wanted, ids=tuple(ids.values()), begin=begin, last=None), ids, needed)
            found = found.group_by("instrument", maintain_order=True).tail(wanted.last)
            if found.height == wanted.last * len(ids) or begin == wanted.begin:
                parts.append(found)
                break
        if self._connections.run(_current, wanted) != before:
            raise _Moved("its catalogue changes all the time")
        return pl.concat(parts).sort(_KEY).select(columns)

    # -- merging -------------------------------------------------------------------------------------------------

    def _merge(
        self, hot: pl.DataFrame, wanted: Wanted, ids: dict[str, int], needed: Sequence[str], numbers: Sequence[int]
    ) -> pl.DataFrame | None:
        """The merged bars of table and files. None if both have a copy of a bar, and choosing needs more columns."""
        files = self._connections.run(_files, wanted, list(numbers))
        parts = [
            _from_files(self._archive, [file for file in files if file.kind == kind], wanted, ids, needed)
            for kind in ("bars", "revisions")
        ]
        archived = pl.concat(parts)
        both = pl.concat([archived, hot])
        if wanted.as_of is None:  # table and files have each bar at most once
            beside = hot.filter(pl.col("open_time") < max(file.end_open for file in files))
            doubled = beside.height > 0 and archived.join(beside, on=_KEY, how="semi").height > 0
        else:
            doubled = both.select(_KEY).is_duplicated().any()
        if doubled and not set(merge.DECIDING) <= set(needed):
            return None
        if doubled:
            return merge.best(both)
        # files are in the order of their months, and each one is sorted
        in_order = len(ids) == 1 and bool((np.diff(both["open_time"].to_physical().to_numpy()) > 0).all())
        return both if in_order else both.sort(_KEY)


def _without_marks(answer: pl.DataFrame) -> Found:
    """Split the result of ``streamed`` into bars, file numbers, and the end of the newest file."""
    times = answer["open_time"].to_physical().to_numpy()
    marked = times >= queries.MARKED_FILE
    if not marked.any():
        return answer, [], None
    _need_polars()
    marks = times[marked]
    ends = marks[marks >= queries.MARKED_END] - queries.MARKED_END
    numbers = (marks[marks < queries.MARKED_END] - queries.MARKED_FILE) // 1_000_000
    return answer.filter(~marked), numbers.tolist(), EPOCH + timedelta(microseconds=int(ends.max()))


def _need_polars() -> None:
    """Raise NeedsPolarsError in a process without Polars' threads, which read and merge archived files."""
    if fork_safety.without_polars():
        raise NeedsPolarsError("reading archived bars")


def _newest_archived(
    connection: psycopg.Connection[Any], wanted: Wanted, ids: dict[str, int], until: datetime
) -> dict[str, date]:
    """The newest day with possibly archived bars, for each instrument that may have some."""
    values = [str(wanted.timeframe), until.date(), list(wanted.ids)]
    days = dict(connection.execute(_ARCHIVED, values).fetchall())
    return {name: days[number] for name, number in ids.items() if days[number] is not None}


def _files(connection: psycopg.Connection[Any], wanted: Wanted, numbers: list[int]) -> list[ArchiveFile]:
    """The files with these numbers. A file that was retired meanwhile still exists for a while."""
    statuses = ("current", "retired")
    found = catalogue.find(connection, None, wanted.timeframe, wanted.begin, wanted.until, statuses)
    chosen = [file for file in found if file.archive_id in numbers]
    if len(chosen) != len(numbers):
        raise _Moved("it is gone from the catalogue")
    return chosen


def _current(connection: psycopg.Connection[Any], wanted: Wanted) -> list[ArchiveFile]:
    return catalogue.find(connection, None, wanted.timeframe, wanted.begin, wanted.until)


def _all_newer(hot: pl.DataFrame, wanted: Wanted, archived_until: datetime | None) -> bool:
    """Whether the newest bars of all instruments are in the table, so that no archived bar counts."""
    assert archived_until is not None
    if hot.height != (wanted.last or 0) * len(wanted.ids):
        return False
    times = hot["open_time"]
    oldest = times.item(0) if len(wanted.ids) == 1 and hot.height else times.min()
    return hot.is_empty() or (isinstance(oldest, datetime) and oldest >= archived_until)


def _from_files(
    archive: Archive, files: Sequence[ArchiveFile], wanted: Wanted, ids: dict[str, int], needed: Sequence[str]
) -> pl.DataFrame:
    """The rows of ``wanted`` in files of one kind."""
    if not files:
        return pl.DataFrame(schema={name: READ_SCHEMA[name] for name in needed})
    names = list(ids)
    mine = pl.col("instrument") == names[0] if len(names) == 1 else pl.col("instrument").is_in(names)
    rows = archive.scan(files).filter(
        mine, pl.col("open_time") >= _lit(wanted.begin), pl.col("open_time") < _lit(wanted.until)
    )
    if wanted.as_of is not None:
        rows = rows.filter(pl.col("recorded_at") <= wanted.as_of)
        if files[0].kind == "revisions":
            rows = rows.filter(pl.col("superseded_at") > wanted.as_of)
    return rows.select(needed).collect()


def _lit(moment: datetime) -> pl.Expr:
    """A bound of open times, which are whole milliseconds: rounded up, which is right for both bounds."""
    return pl.lit(moment + timedelta(microseconds=-moment.microsecond % 1000), UTC_MS)


class _Moved(Exception):  # noqa: N818  (never leaves this module)
    """The archive changed while it was read."""
