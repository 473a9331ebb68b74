"""What a fill has to do, and what it left missing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from crypto_pipeline.healing import plan
from crypto_pipeline.healing.fill.explain import OUTSIDE, Explainer
from crypto_pipeline.healing.passes import FillPass
from crypto_pipeline.healing.reports import WAITING
from crypto_pipeline.market.timeframes import LOWER, Timeframe

Spans = Mapping[Timeframe, tuple[datetime, datetime]]


def unfinished_timeframes(work: FillPass, spans: Spans) -> set[Timeframe]:
    """Timeframes of ``spans`` with anything to do: a few queries, whatever the size of the spans. Raises StoreError."""
    store, names = work.store, work.names
    unfinished = store.coverage.unfinished(dict(spans), LOWER, names)
    written = store.ledger.open(instruments=names, states=list(OUTSIDE))
    for timeframe, (begin, until) in spans.items():
        if timeframe not in unfinished and not Explainer(work, timeframe).outside_is_written(begin, until, written):
            unfinished.add(timeframe)
    to_take_back = store.failovers.due(work.venue.name, work.horizon.now)["timeframe"].unique()
    return unfinished | {Timeframe(name) for name in to_take_back if Timeframe(name) in spans}


def report_missing(work: FillPass, spans: Spans) -> None:
    """Add to the report what of ``spans`` is still missing, with the reason and the next attempt. Raises StoreError."""
    because = pl.col("evidence").str.json_path_match("$.because").alias("because")
    for timeframe, (begin, until) in spans.items():
        if work.counts(timeframe).still_missing:
            rows = work.store.ledger.open(timeframe, work.names, plan.OPEN_UNEXPLAINED, begin, until)
            work.report.waiting.append(rows.select(*WAITING, because))
