"""Observations of macro series, as readers ask for them."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl

from crypto_pipeline.market.macro.selection import parse_prints
from crypto_pipeline.reading import arguments
from crypto_pipeline.reading.arguments import Moment
from crypto_pipeline.reading.helper_process import needs_polars
from crypto_pipeline.reading.servers.stored_reads import StoredReads
from crypto_pipeline.store import Store

_DAY = timedelta(days=1)


class MacroReading(StoredReads):
    """The part of a reader that reads macro series."""

    @needs_polars
    def macro(
        self,
        series: str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        as_of: Moment | None = None,
        prints: str = "latest",
    ) -> pl.DataFrame:
        """Observations of one macro series; arguments, columns and errors are those of ``read_macro``."""
        return self.from_server(lambda store: read_macro(store, series, start, end, as_of=as_of, prints=prints))


def read_macro(
    store: Store,
    series: str,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    as_of: Moment | None = None,
    prints: str = "latest",
) -> pl.DataFrame:
    """Observations of one series whose periods begin in ``[start, end)``, by period and vintage.

    ``series`` is a name (CPI) or an id of FRED (CPIAUCSL). ``as_of`` leaves out values that were not public by then,
    and ends of vintages that came later. ``prints``: ``latest`` is the newest value of each period, ``first`` its first
    published one, ``all`` every one.

    Columns: ``series`` String; ``period`` Date, its first day; ``value`` Float64 in the units of the series, null where
    the source states that there is none; ``vintage_start`` and ``vintage_end`` Date, the days in which the value was
    the newest (null: it still is); ``available_at`` Datetime(us, UTC), from which on it may be used; ``basis`` String,
    how that is known: ``release`` (hour of a release), ``day_end`` (end of the vintage's day) or ``observed`` (when it
    was fetched).

    Raises ValueError for a bad argument, StoreError for an unknown series or when no database answers.
    """
    chosen = parse_prints(prints)
    first, last = (_first_day(value, name) for value, name in ((start, "start"), (end, "end")))
    if first is not None and last is not None and first >= last:
        raise ValueError(f"start {first} is not before end {last}: the span [start, end) is empty")
    moment = arguments.optional(as_of, "as_of", up=False)
    return store.macro_reads.observations(store.macro_reads.find(series), first, last, as_of=moment, prints=chosen)


def _first_day(value: Moment | None, name: str) -> date | None:
    """The first day that begins at ``value`` or later, in UTC: periods are days, and begin at midnight."""
    moment = arguments.optional(value, name)
    if moment is None:
        return None
    day = moment.date()
    return day if moment.time() == datetime.min.time() or day == date.max else day + _DAY
