"""The reader's questions as SQL, each in two forms that say the same.

*Packed*: one row of arrays, parameters apart so that the server keeps the plan; least work for few bars, because
nothing is done per bar on our side. *Streamed*: the rows themselves, for ADBC, which reads them by COPY, twice as fast
as it reads the answer of a statement with parameters. COPY takes no parameters, so there the values are written into
the text: only numbers, members of ``Timeframe`` and times that we format ourselves, never a text from outside.

Each statement also names the archive files that are the truth of a part of the span. It is one statement because of the
moment at which a month leaves its table: a statement that began before keeps the partition locked in place, one that
begins later sees the file; two statements could see neither, whatever snapshot they share.
"""

# ruff: noqa: S608  (see above)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from crypto_pipeline.market.timeframes import Timeframe

#: What the table's columns are called, in the order in which they are asked for.
STORED = (
    "instrument_id", "open_time", "open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume",
    "trade_count", "source_rank", "complete", "revision", "recorded_at",
)  # fmt: skip
#: Values that never occur, in place of null: arrays without nulls have elements of one width.
_NO_NULL = {"quote_volume": "'NaN'::float8", "taker_buy_volume": "'NaN'::float8", "trade_count": "-1"}
#: Beyond any bar, and so far from the ends of Python's calendar that a week more or less stays inside.
FIRST, LAST = datetime(1, 1, 15, tzinfo=UTC), datetime(9999, 12, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Bars of ``ids`` with open time in ``[begin, until)``: all of them, or the newest ``last`` of each instrument.

    ``as_of``: copies that were the truth then. ``complete``: without copies that saw only a part of their window; it is
    not applied here but by whoever merges, unless ``last`` has to count. ``columns`` are names of STORED.
    """

    ids: tuple[int, ...]
    timeframe: Timeframe
    begin: datetime = FIRST
    until: datetime = LAST
    as_of: datetime | None = None
    last: int | None = None
    complete: bool = False
    columns: tuple[str, ...] = STORED

    @property
    def most(self) -> int:
        """No more bars than these can come."""
        span = self.timeframe.count(max(self.begin, _EPOCH), max(self.until, _EPOCH))
        return len(self.ids) * (span if self.last is None else min(self.last, span))


_PARAMETERS = {
    "ids": "%(ids)s::int[]", "timeframe": "%(timeframe)s::text", "begin": "%(begin)s::timestamptz",
    "until": "%(until)s::timestamptz", "as_of": "%(as_of)s::timestamptz", "last": "%(last)s::bigint",
}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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
    # the text depends on what kind of question it is, not on its values
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
    inner = _rows(wanted, _PARAMETERS.__getitem__, [_NO_NULL.get(c, "") for c in wanted.columns])
    arrays = ", ".join(f"array_send(array_agg(q.{name}))" for name in wanted.columns)
    files = _files(wanted, _PARAMETERS)
    return (
        f"SELECT (SELECT array_agg(a.archive_id) {files}), (SELECT max(a.end_open) {files}), {arrays} FROM ({inner}) q"
    )


def streamed(wanted: Wanted) -> str:
    """A statement without parameters. Rows with a negative ``instrument_id`` are archive files: minus their number, and
    their end as ``open_time``.
    """
    values = {
        "ids": f"'{{{','.join(str(int(number)) for number in wanted.ids)}}}'::int[]",
        "timeframe": f"'{Timeframe(wanted.timeframe)}'",
        "begin": _time(wanted.begin),
        "until": _time(wanted.until),
        "as_of": _time(wanted.as_of or LAST),
        "last": str(int(wanted.last or 0)),
    }
    inner = _rows(wanted, values.__getitem__, [""] * len(wanted.columns))
    files = _files(wanted, values)
    marks = {"instrument_id": "(-a.archive_id)::int", "open_time": "a.end_open"}
    columns = ", ".join(marks.get(name, "NULL") for name in wanted.columns)
    return f"{inner} UNION ALL SELECT {columns} {files}"


def _files(wanted: Wanted, values: Mapping[str, str]) -> str:
    kinds = "'{bars}'" if wanted.as_of is None else "'{bars,revisions}'"
    return _FILES.format(kinds=kinds, **{name: values[name] for name in ("timeframe", "until", "begin")})


def _time(moment: datetime) -> str:
    return f"'{moment.astimezone(UTC).isoformat()}'::timestamptz"


def _rows(wanted: Wanted, value: Callable[[str], str], instead: Sequence[str]) -> str:
    """The statement that gives the bars; ``value`` writes a parameter, ``instead`` of null stands what is given."""
    columns = ", ".join(
        f"coalesce(b.{name}, {other}) AS {name}" if other else f"b.{name}"
        for name, other in zip(wanted.columns, instead, strict=True)
    )
    series = _SERIES.format(timeframe=value("timeframe"), begin=value("begin"), until=value("until"))
    if wanted.last is None:
        who, more, plain = f"b.instrument_id = ANY ({value('ids')})", "", columns
    else:
        who, plain = "b.instrument_id = i.number", columns
        more = f"{' AND b.complete' if wanted.complete else ''} ORDER BY b.open_time DESC LIMIT {value('last')}"
    known = f" AND b.recorded_at <= {value('as_of')}" if wanted.as_of is not None else ""
    now = _NOW.format(columns=plain, who=who, series=series, more=known + more)
    was = _WAS.format(columns=plain, who=who, series=series, more=more, as_of=value("as_of"))
    if wanted.last is None:
        return now if wanted.as_of is None else f"{now} UNION ALL {was}"
    if wanted.as_of is not None:
        now = f"SELECT * FROM (({now}) UNION ALL ({was})) u ORDER BY u.open_time DESC LIMIT {value('last')}"
    return f"SELECT o.* FROM unnest({value('ids')}) AS i (number) CROSS JOIN LATERAL ({now}) o"
