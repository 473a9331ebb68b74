"""Expected bars that nothing has asked for yet, as rows beside the ledger: days that no run came to.

A run asks for them within minutes, so they are not stored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.market.gaps.arithmetic import subtract
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading.absent.missing import OPEN_UNEXPLAINED, Horizon, ledger_spans, missing
from crypto_pipeline.store import Store
from crypto_pipeline.store.coverage.ledger import GAP_SCHEMA

#: Begin and end of a span, UTC; None: as far as bars are expected.
Bounds = tuple[datetime | None, datetime | None]
#: The state of such bars beside the rows of the ledger.
UNASKED = "unasked"
BECAUSE = "Expected, and not asked for yet: a run that fills history asks for it; `crypto-pipeline backfill` does now."
#: A bar that has just become due is no bar that nothing asks for.
_SETTLE = timedelta(minutes=5)


def with_unasked(
    store: Store, gaps: pl.DataFrame, instruments: Sequence[str], timeframes: Sequence[Timeframe], bounds: Bounds
) -> pl.DataFrame:
    """``gaps`` (GAP_SCHEMA), and a row for each span of expected bars that has no row of the ledger yet."""
    first, _ = store.coverage.span()
    if first is None:
        return gaps
    horizon = Horizon(first - timedelta(days=7), store.clock.now(), _SETTLE)  # weeks begin before
    found = [
        unasked_spans(store, timeframe, bounds, instruments, horizon).with_columns(
            pl.lit(str(timeframe)).alias("timeframe"),
            ((pl.col("end") - pl.col("start")).dt.total_milliseconds() // timeframe.milliseconds).alias("bars"),
        )
        for timeframe in timeframes
    ]
    rows = pl.concat(found)
    if rows.is_empty():
        return gaps
    stated = {"state": UNASKED, "evidence": json.dumps({"because": BECAUSE, "rule": UNASKED})}
    values = [pl.lit(stated.get(name), kind).alias(name) for name, kind in GAP_SCHEMA.items() if name not in rows]
    typed = rows.with_columns(values).select(list(GAP_SCHEMA)).cast(dict(gaps.schema))  # type: ignore[arg-type]
    return pl.concat([gaps, typed]).sort("instrument", "timeframe", "start")


def unasked_spans(
    store: Store, timeframe: Timeframe, bounds: Bounds, instruments: Sequence[str], horizon: Horizon
) -> pl.DataFrame:
    """Expected bars that are neither stored nor in the ledger, as spans of each instrument."""
    absent = missing(store, timeframe, horizon.clip(timeframe, *bounds), instruments, horizon)
    if absent.is_empty():
        return absent
    return subtract(absent, ledger_spans(store, timeframe, OPEN_UNEXPLAINED, absent))
