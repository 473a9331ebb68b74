"""Gap arithmetic: what is missing is what is expected minus what is present.

Spans are half-open, ``[start, end)``. Every function takes lists of ``(start, end)`` for one series, or a frame
``[instrument, start, end]`` for many, and returns the same kind. Holes inside, holes at either edge and whole absent
series are found in the same way, because no function depends on neighbouring bars.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TypeAlias, overload

import polars as pl

from crypto_pipeline.market.gaps import span_frames as frames
from crypto_pipeline.market.timeframes import Timeframe, require_utc

Span: TypeAlias = tuple[datetime, datetime]


@overload
def merge_spans(spans: pl.DataFrame) -> pl.DataFrame: ...
@overload
def merge_spans(spans: Iterable[Span]) -> list[Span]: ...
def merge_spans(spans: pl.DataFrame | Iterable[Span]) -> pl.DataFrame | list[Span]:
    """Overlapping and touching spans joined, empty ones dropped, sorted."""
    if isinstance(spans, pl.DataFrame):
        return frames.merge(spans)
    merged: list[Span] = []
    for start, end in sorted((require_utc(start), require_utc(end)) for start, end in spans):
        if start >= end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


@overload
def subtract(spans: pl.DataFrame, holes: pl.DataFrame) -> pl.DataFrame: ...
@overload
def subtract(spans: Iterable[Span], holes: Iterable[Span]) -> list[Span]: ...
def subtract(spans: pl.DataFrame | Iterable[Span], holes: pl.DataFrame | Iterable[Span]) -> pl.DataFrame | list[Span]:
    """The parts of ``spans`` that lie in none of ``holes``."""
    if isinstance(spans, pl.DataFrame) and isinstance(holes, pl.DataFrame):
        return frames.subtract(spans, holes)
    if isinstance(spans, pl.DataFrame) or isinstance(holes, pl.DataFrame):
        raise TypeError("give two lists of spans or two frames")
    left: list[Span] = []
    cuts = merge_spans(holes)
    first = 0
    for start, end in merge_spans(spans):
        while first < len(cuts) and cuts[first][1] <= start:
            first += 1
        at, here = start, first
        while here < len(cuts) and cuts[here][0] < end:
            if at < cuts[here][0]:
                left.append((at, cuts[here][0]))
            at = max(at, cuts[here][1])
            here += 1
        if at < end:
            left.append((at, end))
    return left


@overload
def intersect(spans: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame: ...
@overload
def intersect(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]: ...
def intersect(spans: pl.DataFrame | Iterable[Span], others: pl.DataFrame | Iterable[Span]) -> pl.DataFrame | list[Span]:
    """The parts of ``spans`` that lie in one of ``others``."""
    if isinstance(spans, pl.DataFrame) and isinstance(others, pl.DataFrame):
        return frames.intersect(spans, others)
    if isinstance(spans, pl.DataFrame) or isinstance(others, pl.DataFrame):
        raise TypeError("give two lists of spans or two frames")
    ours, theirs = merge_spans(spans), merge_spans(others)
    shared: list[Span] = []
    i = j = 0
    while i < len(ours) and j < len(theirs):
        start, end = max(ours[i][0], theirs[j][0]), min(ours[i][1], theirs[j][1])
        if start < end:
            shared.append((start, end))
        if ours[i][1] < theirs[j][1]:
            i += 1
        else:
            j += 1
    return shared


@overload
def to_spans(open_times: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame: ...
@overload
def to_spans(open_times: pl.Series | Iterable[datetime], timeframe: Timeframe) -> list[Span]: ...
def to_spans(
    open_times: pl.DataFrame | pl.Series | Iterable[datetime], timeframe: Timeframe
) -> pl.DataFrame | list[Span]:
    """The spans that bars of ``timeframe`` with these open times cover; in any order, copies allowed."""
    if isinstance(open_times, pl.DataFrame):
        return frames.from_open_times(open_times, timeframe)
    if isinstance(open_times, pl.Series):
        frame = open_times.rename("open_time").to_frame().select(pl.lit("").alias("instrument"), "open_time")
        return frames.from_open_times(frame, timeframe).select("start", "end").rows()
    return merge_spans((moment, moment + timeframe.delta) for moment in open_times)


@overload
def missing_spans(
    expected: pl.DataFrame, present: pl.DataFrame, timeframe: Timeframe | None = None
) -> pl.DataFrame: ...
@overload
def missing_spans(
    expected: Iterable[Span],
    present: pl.Series | Iterable[Span] | Iterable[datetime],
    timeframe: Timeframe | None = None,
) -> list[Span]: ...
def missing_spans(
    expected: pl.DataFrame | Iterable[Span],
    present: pl.DataFrame | pl.Series | Iterable[Span] | Iterable[datetime],
    timeframe: Timeframe | None = None,
) -> pl.DataFrame | list[Span]:
    """The expected spans that are not present.

    ``present`` is spans; or, with ``timeframe``, the open times of the bars that are present.
    """
    if isinstance(expected, pl.DataFrame):
        if not isinstance(present, pl.DataFrame):
            raise TypeError("give two lists or two frames")
        return frames.subtract(expected, present if timeframe is None else frames.from_open_times(present, timeframe))
    if isinstance(present, pl.DataFrame):
        raise TypeError("give two lists or two frames")
    if timeframe is not None:
        return subtract(expected, to_spans(present, timeframe))  # type: ignore[arg-type]
    return subtract(expected, present)  # type: ignore[arg-type]


def whole_cells(cells: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Coverage cells (``day``) with the ``start`` and ``end`` (ms, UTC) of their day or week."""
    day = pl.col("day").cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    return cells.with_columns(start=day, end=day.dt.offset_by(f"{timeframe.cell_days}d"))


def missing_spans_by_cell(cells: pl.DataFrame, present: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Missing spans ``[instrument, start, end]`` of coverage ``cells``, neighbouring cells joined.

    ``cells`` has ``instrument`` and ``day``; and ``start`` and ``end``, the expected part of each cell, as
    ``expected_bounds`` gives them (without them all of the cell is expected). ``present`` has ``instrument`` and
    ``open_time`` of the bars that are present.
    """
    if "start" not in cells.columns:
        cells = whole_cells(cells, timeframe)
    return frames.subtract(cells, frames.from_open_times(present, timeframe))


def count_bars(spans: pl.DataFrame, timeframe: Timeframe) -> pl.Series:
    """How many bars of ``timeframe`` each span of a frame holds (its edges lie on the grid)."""
    width = (pl.col("end") - pl.col("start")).dt.total_milliseconds() // timeframe.milliseconds
    return spans.select(width.alias("bars")).to_series()
