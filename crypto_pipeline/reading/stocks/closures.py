"""Holidays and early closes as rows beside the ledger: bars that are absent because the exchange was closed.

They follow from the calendar, so they are not stored: nothing is expected then, and nothing has to be explained.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.market.calendars import SessionCalendar, get_calendar
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.coverage.ledger import GAP_SCHEMA

#: The state of such a row.
CLOSED = "closed"


def with_closures(
    store: Store,
    gaps: pl.DataFrame,
    instruments: Sequence[str] | None,
    timeframe: Timeframe | None,
    states: Sequence[str] | None,
    start: datetime | None,
    end: datetime | None,
) -> pl.DataFrame:
    """``gaps`` (GAP_SCHEMA), and a row for each closure of ``[start, end)``: none without a ``start``.

    Rows are about ``timeframe``, 1m where it is None; of days and weeks there are none, as they have no shorter bars.
    """
    width = timeframe or Timeframe.M1
    if start is None or not (states is None or CLOSED in states) or width in (Timeframe.D1, Timeframe.W1):
        return gaps
    names = list(instruments) if instruments is not None else list(store.symbols.collected())
    until = end or store.clock.lately()
    rows = []
    for name, code in store.symbols.calendars(names).items():
        calendar = get_calendar(code)
        assert isinstance(calendar, SessionCalendar)
        for each in calendar.closures((start - timedelta(days=1)).date(), until.date()):
            if each.end > start and each.start < until:
                begin, over = width.ceil(each.start), width.ceil(each.end)
                reason = json.dumps({"because": each.reason, "rule": "calendar"})
                rows.append((name, str(width), begin, over, width.count(begin, over), CLOSED, reason))
    if not rows:
        return gaps
    columns = ("instrument", "timeframe", "start", "end", "bars", "state", "evidence")
    closed = pl.DataFrame(rows, schema={column: GAP_SCHEMA[column] for column in columns}, orient="row")
    empty = [pl.lit(None, kind).alias(name) for name, kind in GAP_SCHEMA.items() if name not in columns]
    return pl.concat([gaps, closed.with_columns(empty).select(list(GAP_SCHEMA)).cast(dict(gaps.schema))]).sort(  # type: ignore[arg-type]
        "instrument", "timeframe", "start"
    )
