"""Frames of spans and the sessions of exchanges: what of a span is expected, and what of it is closed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.calendars import Calendar, get_calendar, outside_sessions
from crypto_pipeline.market.gaps.span_frames import SPAN_SCHEMA, empty_spans, intersect, merge, subtract
from crypto_pipeline.market.timeframes import Timeframe

#: Timeframes whose bars belong to sessions as a whole.
_BY_SESSION = (Timeframe.D1, Timeframe.W1)


def session_spans(spans: pl.DataFrame, timeframe: Timeframe, calendars: Mapping[str, str]) -> pl.DataFrame:
    """The windows of sessions, joined, near ``spans`` of the instruments in ``calendars``, as a frame of spans."""
    bounds = spans.filter(pl.col("instrument").is_in(list(calendars))).group_by("instrument").agg(
        pl.col("start").min(), pl.col("end").max()
    )  # fmt: skip
    rows = [
        (name, *each)
        for name, start, end in bounds.iter_rows()
        for each in get_calendar(calendars[name]).spans(timeframe, start, end)
    ]
    return pl.DataFrame(rows, schema=SPAN_SCHEMA, orient="row")


def inside_sessions(spans: pl.DataFrame, timeframe: Timeframe, calendars: Mapping[str, str]) -> pl.DataFrame:
    """What of ``spans`` is expected: of an instrument in ``calendars`` only the windows of its sessions."""
    if not calendars or spans.is_empty():
        return spans.select(*SPAN_SCHEMA)
    bound = pl.col("instrument").is_in(list(calendars))
    mine = spans.filter(bound).select(pl.col(name).cast(dtype) for name, dtype in SPAN_SCHEMA.items())
    if mine.is_empty():
        return spans.select(*SPAN_SCHEMA)
    inside = intersect(mine, session_spans(mine, timeframe, calendars))
    return merge(pl.concat([spans.filter(~bound).select(*SPAN_SCHEMA).cast(inside.schema), inside]))


def closed_spans(spans: pl.DataFrame, timeframe: Timeframe, calendars: Mapping[str, str]) -> pl.DataFrame:
    """What of ``spans`` of the instruments in ``calendars`` lies outside of their sessions."""
    mine = spans.filter(pl.col("instrument").is_in(list(calendars)))
    if mine.is_empty():
        return empty_spans()
    return subtract(mine, session_spans(mine, timeframe, calendars))


def days_over_closures(spans: pl.DataFrame, calendars: Mapping[str, str]) -> pl.DataFrame:
    """The UTC days that ``spans`` touch, joined over days without a session between them, as a frame of spans.

    So they are asked for: whole days bring extended hours with the session, and a year is one request, not fifty. A day
    without a session after the last one is among them: in winter Friday's last extended hour is Saturday in UTC.
    """
    last = (pl.col("end") - timedelta(milliseconds=1)).dt.truncate("1d") + timedelta(days=1)
    days = merge(spans.select("instrument", pl.col("start").dt.truncate("1d"), last.alias("end")))
    hulls = days.group_by("instrument").agg(pl.col("start").min(), pl.col("end").max() + timedelta(days=1))
    joined = merge(pl.concat([days, closed_spans(hulls, Timeframe.D1, calendars).cast(days.schema)]))
    # A closure before days that are not asked for is not asked for either.
    asked = days.select("instrument", "start", pl.col("start").alias("asked"))
    near = joined.sort("start").join_asof(
        asked.sort("start"), on="start", by="instrument", strategy="forward", check_sortedness=False
    )
    return near.filter(pl.col("asked") < pl.col("end")).select(*SPAN_SCHEMA).sort("instrument", "start")


def without_extended(
    parts: pl.DataFrame, part: Timeframe, target: Timeframe, calendars: Mapping[str, str]
) -> pl.DataFrame:
    """Bars of ``part`` from which those of ``target`` are made: in a window that touches a session only its bars.

    Bars of extended hours make up windows of their own, those that touch no session; but no days and no weeks.
    """
    if not calendars or parts.is_empty():
        return parts
    keep = np.ones(parts.height, np.bool_)
    window = parts.select(target.floor_expr()).to_series()
    for name, calendar in calendars.items():
        rows = np.flatnonzero((parts["instrument"] == name).to_numpy())
        if not len(rows):
            continue
        sessions = get_calendar(calendar)
        inside = _inside(sessions, part, parts["open_time"].gather(rows))
        if target not in _BY_SESSION:
            inside |= ~_inside(sessions, target, window.gather(rows))
        keep[rows] = inside
    return parts.filter(pl.Series(keep))


def _inside(sessions: Calendar, timeframe: Timeframe, opens: pl.Series) -> npt.NDArray[np.bool_]:
    """Which windows of ``timeframe`` touch a session."""
    return ~outside_sessions(sessions, timeframe, opens.cast(UTC_MS).to_physical().to_numpy())
