"""SQL of reads of bars. A query has three forms with the same result.

*Packed*: one row of arrays, with parameters, so that the server keeps the plan. It is fastest for few bars, because
Python does nothing per bar. *Packed together*: the same for several queries that differ only in instrument and times.
*Streamed*: the rows themselves, for ADBC, which reads them by COPY, twice as fast as the answer to a statement with
parameters. COPY takes no parameters, so the values are written into the text: only numbers, members of ``Timeframe``
and times that are formatted here, never text from outside.

Each statement also names the archive files that hold a part of the span. It must be the same statement, because a month
may be detached from its table meanwhile: a statement that began before keeps the partition locked, and one that begins
later sees the file. Two statements could see neither, even in one snapshot.
"""

# ruff: noqa: S608  (see above)

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.columns.bars import ABSENT, BAR_COLUMNS

#: Outside of all bars, but at least a week inside of Python's calendar.
FIRST, LAST = datetime(1, 1, 15, tzinfo=UTC), datetime(9999, 12, 1, tzinfo=UTC)
#: Later than any bar; and in microseconds since 1970.
_MARKED_FILE, _MARKED_END = "100000-01-01 00:00:00+00", "200000-01-01 00:00:00+00"
_YEARS_400 = 146_097 * 86_400_000_000
MARKED_FILE, MARKED_END = (_YEARS_400 * years // 400 - 62_167_219_200_000_000 for years in (100_000, 200_000))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Bars of ``ids`` with open time in ``[begin, until)``: all of them, or the newest ``last`` of each instrument.

    ``as_of``: the copies that were valid then. ``complete``: without bars whose window had not ended; the caller
    applies it after merging, except with ``last``, where the statement must count complete bars. ``columns`` are
    names of BAR_COLUMNS.
    """

    ids: tuple[int, ...]
    timeframe: Timeframe
    begin: datetime = FIRST
    until: datetime = LAST
    as_of: datetime | None = None
    last: int | None = None
    complete: bool = False
    columns: tuple[str, ...] = BAR_COLUMNS

    @property
    def most(self) -> int:
        """Greatest possible number of bars."""
        if self.last is not None and (self.begin, self.until) == (FIRST, LAST):
            return len(self.ids) * self.last
        span = self.timeframe.count(max(self.begin, EPOCH), max(self.until, EPOCH))
        return len(self.ids) * (span if self.last is None else min(self.last, span))


_PARAMETERS = {
    "ids": "%(ids)s::int[]", "timeframe": "%(timeframe)s::text", "begin": "%(begin)s::timestamptz",
    "until": "%(until)s::timestamptz", "as_of": "%(as_of)s::timestamptz", "last": "%(last)s::bigint",
}  # fmt: skip
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SERIES = "b.timeframe = {timeframe} AND b.open_time >= {begin} AND b.open_time < {until}"
_NOW = "SELECT {columns} FROM market.ohlc_data b WHERE {who} AND {series}{more}"
_WAS = (
    "SELECT {columns} FROM market.ohlc_revisions b WHERE {who} AND {series} "
    "AND b.recorded_at <= {as_of} AND b.superseded_at > {as_of}{more}"
)
_FILES = (
    "FROM market.archive_files a WHERE a.status = 'current' AND a.kind = ANY ({kinds}) AND a.timeframe = {timeframe} "
    "AND a.first_open < {until} AND a.end_open > {begin}"
)


def packed(wanted: Wanted) -> tuple[str, dict[str, Any]]:
    """A statement for psycopg, and its parameters.

    One row: the numbers of the archive files, the end of the newest of them, then one ``array_send`` per column.
    """
    # the text depends on the kind of query, not on its values
    like = Wanted(
        (), Timeframe.M1, as_of=FIRST if wanted.as_of is not None else None, last=None if wanted.last is None else 1,
        complete=wanted.complete, columns=wanted.columns,
    )  # fmt: skip
    return _packed_text(like), {
        "ids": list(wanted.ids),
        "timeframe": str(wanted.timeframe),
        "begin": wanted.begin,
        "until": wanted.until,
        "as_of": wanted.as_of,
        "last": wanted.last,
    }


@lru_cache(maxsize=256)
def _packed_text(wanted: Wanted) -> str:
    inner = _rows(wanted, _PARAMETERS.__getitem__, [ABSENT.get(c, "") for c in wanted.columns])
    arrays = ", ".join(f"array_send(array_agg(q.{name}))" for name in wanted.columns)
    files = _files(wanted, _PARAMETERS)
    return (
        f"SELECT (SELECT array_agg(a.archive_id) {files}), (SELECT max(a.end_open) {files}), {arrays} FROM ({inner}) q"
    )


def packed_together(several: Sequence[Wanted]) -> tuple[str, dict[str, Any]]:
    """A statement for psycopg, and its parameters, for queries of one series each that differ in series and times.

    One row: number, start and end of each archive file that overlaps a span, as three arrays; then for every bar the
    position of its query, from 1, and one ``array_send`` per column.
    """
    first = several[0]
    like = Wanted(
        (), first.timeframe, as_of=None if first.as_of is None else FIRST, last=None if first.last is None else 1,
        complete=first.complete, columns=first.columns,
    )  # fmt: skip
    return _packed_together_text(like), {
        "ids": _array(one.ids[0] for one in several),
        "begin": _array(one.begin.isoformat() for one in several),
        "until": _array(one.until.isoformat() for one in several),
        "as_of": _array((one.as_of or LAST).isoformat() for one in several),
        "last": _array(one.last or 0 for one in several),
        "first": min(one.begin for one in several),
        "end": max(one.until for one in several),
    }


def _array(values: Iterable[object]) -> str:
    """An array literal, which takes a tenth of the time of adapting a list."""
    return f"{{{','.join(map(str, values))}}}"


_EACH = {"begin": "i.begin", "until": "i.until", "as_of": "i.as_of", "last": "i.most"}
_FILE = ("archive_id", "first_open", "end_open")
_SEVERAL = (
    "unnest(%(ids)s::int[], %(begin)s::timestamptz[], %(until)s::timestamptz[], %(as_of)s::timestamptz[], "
    "%(last)s::bigint[]) WITH ORDINALITY AS i (number, begin, until, as_of, most, place)"
)


@lru_cache(maxsize=256)
def _packed_together_text(wanted: Wanted) -> str:
    # the timeframe is a literal, so that the plan has only its partitions
    each = {**_EACH, "timeframe": f"'{Timeframe(wanted.timeframe)}'::text"}
    inner = _rows(wanted, each.__getitem__, [ABSENT.get(name, "") for name in wanted.columns], each_its_own=True)
    arrays = ", ".join(f"array_send(array_agg(q.{name}))" for name in wanted.columns)
    files = _files(wanted, {**each, "begin": "%(first)s::timestamptz", "until": "%(end)s::timestamptz"})
    named = ", ".join(f"(SELECT array_agg(a.{name} ORDER BY a.archive_id) {files})" for name in _FILE)
    return (
        f"SELECT {named}, array_send(array_agg(q.place::int)), {arrays} "
        f"FROM (SELECT i.place, o.* FROM {_SEVERAL} CROSS JOIN LATERAL ({inner}) o) q"
    )


def streamed(wanted: Wanted) -> str:
    """A statement without parameters. Besides the bars it returns two rows per archive file, marked by ``open_time``:
    the file's number in seconds after MARKED_FILE, and its end, as the time since 1970, after MARKED_END.

    For one instrument it has no ``instrument_id``, which would be the same in all rows.
    """
    values = {
        "ids": f"'{{{','.join(str(int(number)) for number in wanted.ids)}}}'::int[]",
        "timeframe": f"'{Timeframe(wanted.timeframe)}'",
        "begin": _time(wanted.begin),
        "until": _time(wanted.until),
        "as_of": _time(wanted.as_of or LAST),
        "last": str(int(wanted.last or 0)),
    }
    columns = streamed_columns(wanted)
    inner = _rows(replace(wanted, columns=columns), values.__getitem__, [""] * len(columns))
    files = _files(wanted, values)
    marks = (
        f"timestamptz '{_MARKED_FILE}' + a.archive_id * interval '1 second'",
        f"timestamptz '{_MARKED_END}' + (a.end_open - timestamptz 'epoch')",
    )
    marked = (", ".join(mark if name == "open_time" else "NULL" for name in columns) for mark in marks)
    return " UNION ALL ".join([inner, *(f"SELECT {each} {files}" for each in marked)])


def streamed_columns(wanted: Wanted) -> tuple[str, ...]:
    """The columns of ``wanted.columns`` that ``streamed`` returns."""
    return tuple(name for name in wanted.columns if name != "instrument_id" or len(wanted.ids) > 1)


def _files(wanted: Wanted, values: Mapping[str, str]) -> str:
    kinds = "'{bars}'" if wanted.as_of is None else "'{bars,revisions}'"
    return _FILES.format(kinds=kinds, **{name: values[name] for name in ("timeframe", "until", "begin")})


def _time(moment: datetime) -> str:
    return f"'{moment.astimezone(UTC).isoformat()}'::timestamptz"


def _rows(wanted: Wanted, value: Callable[[str], str], instead: Sequence[str], *, each_its_own: bool = False) -> str:
    """The statement that selects the bars.

    ``value`` writes a parameter; ``instead`` has per column the SQL that replaces null. ``each_its_own``: for one
    instrument, within a loop over queries that has the instrument's number as ``i.number``.
    """
    columns = ", ".join(
        f"coalesce(b.{name}, {other}) AS {name}" if other else f"b.{name}"
        for name, other in zip(wanted.columns, instead, strict=True)
    )
    series = _SERIES.format(timeframe=value("timeframe"), begin=value("begin"), until=value("until"))
    if wanted.last is None:
        who, more = "b.instrument_id = i.number" if each_its_own else f"b.instrument_id = ANY ({value('ids')})", ""
    else:
        who = "b.instrument_id = i.number"
        more = f"{' AND b.complete' if wanted.complete else ''} ORDER BY b.open_time DESC LIMIT {value('last')}"
    known = f" AND b.recorded_at <= {value('as_of')}" if wanted.as_of is not None else ""
    now = _NOW.format(columns=columns, who=who, series=series, more=known + more)
    was = _WAS.format(columns=columns, who=who, series=series, more=more, as_of=value("as_of"))
    if wanted.last is None:
        return now if wanted.as_of is None else f"{now} UNION ALL {was}"
    if wanted.as_of is not None:
        now = f"SELECT * FROM (({now}) UNION ALL ({was})) u ORDER BY u.open_time DESC LIMIT {value('last')}"
    if each_its_own:
        return now
    return f"SELECT o.* FROM unnest({value('ids')}) AS i (number) CROSS JOIN LATERAL ({now}) o"
