"""Witnesses of a hole: other instruments whose silence says that the venue as a whole was silent.

An instrument is a witness where it was fetched, by this pass or an earlier one, while the venue listed it, in the
sessions of its calendar, and if it has bars around the hole. An instrument that is not listed yet, delisted, closed,
halted for days, or not fetched is silent for reasons of its own.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl

from crypto_pipeline.healing.fill.fetch import FetchResult
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.calendars import ALWAYS, get_calendar
from crypto_pipeline.market.gaps import span_frames as span
from crypto_pipeline.market.gaps.arithmetic import Span, intersect, merge_spans, subtract, whole_cells
from crypto_pipeline.market.gaps.evidence import WITNESS_SCHEMA
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.store import Store

_OUTSIDE = ("not_listed", "delisted")


class Siblings:
    """The witnesses among the instruments of ``venue`` between ``start`` and ``end``, and how often they have bars."""

    def __init__(
        self, store: Store, venue: str, timeframe: Timeframe, start: datetime, end: datetime, fetched: FetchResult
    ) -> None:
        self._timeframe = timeframe
        # one bar more on either side: around an outage of whole days there are bars only before and after
        start, end = timeframe.floor(start) - timeframe.delta, end + timeframe.delta
        cells = store.coverage.cells([timeframe], start, end)
        known = store.instruments.frame(venue, own=True).filter(pl.col("venue_symbol").is_not_null())
        outside = store.ledger.open(timeframe, known["instrument"].to_list(), list(_OUTSIDE), start, end)
        hull = pl.concat([cells.select("day"), pl.DataFrame({"day": [start.date(), end.date()]})])
        first_day, last_day = hull.select(pl.col("day").min(), pl.col("day").max().alias("last")).row(0)
        first, last = midnight(first_day), midnight(last_day) + timedelta(days=timeframe.cell_days)
        self._days = {
            str(name): dict(rows.select("day", "present").iter_rows())
            for (name,), rows in cells.filter(pl.col("present") > 0).partition_by("instrument", as_dict=True).items()
        }
        looked_at = merge_spans(pl.concat([fetched.answered_spans(), self._stored(store, cells)]))
        alive = subtract(_alive(known, timeframe, first, last), outside.select(*span.SPAN_SCHEMA))
        self._spans: dict[str, list[Span]] = {
            str(name): list(rows.select("start", "end").iter_rows())
            for (name,), rows in intersect(looked_at, alive).partition_by("instrument", as_dict=True).items()
        }
        self._rates = self._rated(store, first, last, alive) | self._rated_in_sessions(cells, known)

    def _stored(self, store: Store, cells: pl.DataFrame) -> pl.DataFrame:
        """Spans that earlier passes fetched: cells in which nothing is missing, up to the newest bar."""
        newest = store.audit.newest(self._timeframe).drop_nulls()
        whole = cells.filter((pl.col("present") > 0) & (pl.col("present") + pl.col("explained") >= pl.col("expected")))
        newest_end = pl.col("open_time") + pl.duration(milliseconds=self._timeframe.milliseconds)
        bounded = whole_cells(whole.join(newest, on="instrument"), self._timeframe).with_columns(
            pl.min_horizontal("end", newest_end).alias("end")
        )
        return bounded.select(pl.col(name).cast(kind) for name, kind in span.SPAN_SCHEMA.items()).filter(
            pl.col("start") < pl.col("end")
        )

    def _rated(self, store: Store, first: datetime, last: datetime, alive: pl.DataFrame) -> dict[str, float]:
        """Each instrument's share of bars in those windows in which any instrument has one, 0 to 1."""
        busy = store.audit.activity(self._timeframe, first, last)["open_time"].to_frame()
        rates = {}
        for (name,), rows in alive.partition_by("instrument", as_dict=True).items():
            present = sum(self._days.get(str(name), {}).values())
            since, until = rows.select(pl.col("start").min(), pl.col("end").max()).row(0)
            possible = busy.filter(pl.col("open_time").is_between(since, until, closed="left")).height
            if present:
                rates[str(name)] = min(1.0, present / possible) if possible else 1.0
        return rates

    @staticmethod
    def _rated_in_sessions(cells: pl.DataFrame, known: pl.DataFrame) -> dict[str, float]:
        """Of instruments that do not trade always the share of bars in their sessions, 0 to 1."""
        bound = known.filter(pl.col("calendar") != ALWAYS.name).select("instrument")
        inside = pl.col("present", "expected") - pl.col("outside")
        sums = cells.join(bound, on="instrument", how="semi").group_by("instrument").agg(inside.sum())
        counted = sums.filter((pl.col("expected") > 0) & (pl.col("present") > 0))
        return {name: min(1.0, present / expected) for name, present, expected in counted.iter_rows()}

    def rate(self, name: str) -> float | None:
        """The instrument's share of bars in the windows in which any instrument has one, 0 to 1; None: not known."""
        return self._rates.get(name)

    def of(self, name: str, start: datetime, end: datetime) -> pl.DataFrame:
        """The witnesses (WITNESS_SCHEMA) of a hole of ``name`` in ``[start, end)``."""
        around = _days(start - self._timeframe.delta, end + self._timeframe.delta)
        rows = [
            (max(since, start), min(until, end), self._rates.get(other))
            for other, spans in self._spans.items()
            if other != name and self._has_bars(other, around)
            for since, until in spans
            if since < end and start < until
        ]
        return pl.DataFrame(rows, schema=WITNESS_SCHEMA, orient="row")

    def _has_bars(self, name: str, around: tuple[date, date]) -> bool:
        step = timedelta(days=self._timeframe.cell_days - 1)
        return any(around[0] - step <= day <= around[1] for day in self._days.get(name, {}))


def _days(start: datetime, end: datetime) -> tuple[date, date]:
    return start.date(), (end - timedelta(microseconds=1)).date()


def _alive(known: pl.DataFrame, timeframe: Timeframe, first: datetime, last: datetime) -> pl.DataFrame:
    """Spans in which each instrument is listed and its calendar is open."""
    rows = []
    for name, listed, delisted, calendar in known.select("instrument", "listed", "delisted", "calendar").iter_rows():
        since = first if listed is None else max(first, timeframe.ceil(listed))
        until = last if delisted is None else min(last, timeframe.floor(delisted))
        if since >= until:
            continue
        if calendar in (None, ALWAYS.name):
            rows.append((name, since, until))
        else:
            rows.extend((name, *session) for session in get_calendar(calendar).spans(timeframe, since, until))
    return pl.DataFrame(rows, schema=span.SPAN_SCHEMA, orient="row").cast({"start": UTC_MS, "end": UTC_MS})
