"""What people see of features: their columns, the figures of each day, and how they go together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.features import drift
from crypto_pipeline.features.compute import FEATURES, NAMES, schema_hash
from crypto_pipeline.features.stored.update import FeatureReport
from crypto_pipeline.ops.charts.features import correlation_heatmap
from crypto_pipeline.store import Store

_KEYS = [
    ("instrument_id", "integer", "Which instrument: market.instruments names it."),
    ("open_time", "timestamptz", "Start of the 15m bar, UTC."),
    ("available_at", "timestamptz", "Its close: the first moment at which the row may be used."),
    (
        "eligible",
        "boolean",
        "At most 5 % of the last 96 bars are missing, and something traded in at least half of them.",
    ),
    ("regime", "smallint", "Market: -2 CRASH, -1 BEAR, 0 NEUTRAL, 1 BULL."),
    ("stress", "smallint", "Market: -2 PANIC, -1 CAUTION, 0 CALM, 1 EUPHORIA."),
]
_FEATURES = [(one.name, "float8", f"{one.text} ({one.group}; {one.warm_up} {one.timeframe} bars)") for one in FEATURES]
COLUMN_SCHEMA = metadata.table_schema([*_KEYS, *_FEATURES], "(instrument, open time)")


def materialization(
    store: Store, report: FeatureReport, partitions: Mapping[str, tuple[datetime, datetime]]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Metadata of the run, and by key those of each partition (in order of time). The last one has the picture."""
    names = [row.instrument.symbol for row in store.instruments.list()]
    (start, _), *_, (_, end) = *partitions.values(), *partitions.values()
    cells = store.features.cells.read(names, start.date(), (end - timedelta(microseconds=1)).date())
    rows = store.features.read(names, start, end, ["open_time", "eligible"], hourly=True)
    eligible = dict(rows.group_by(pl.col("open_time").dt.date()).agg(pl.col("eligible").mean()).iter_rows())
    computed = (
        cells.join(report.computed, on=["instrument", "day"], how="semi") if report.stale_cells else cells.clear()
    )
    own = {}
    for key, (first, until) in partitions.items():
        of_day = pl.col("day") == first.date()
        stored, written = cells.filter(of_day), computed.filter(of_day)
        own[key] = {
            "dagster/row_count": int(stored["rows"].sum()),
            "span": metadata.span_text(first, until),
            "instruments": int(stored["instrument"].n_unique()),
            "instrument_days_computed": written.height,
            "rows_written": int(written["rows"].sum()),
        }
        if first.date() in eligible:
            own[key]["eligible_share"] = round(eligible[first.date()], 6)
    if cells.height:
        own[key] |= pictures(store, names, end)
    return {"benchmark": report.benchmark or "none", "schema_hash": schema_hash()}, own


def pictures(store: Store, names: list[str], end: datetime) -> dict[str, Any]:
    """How the features of the last week go together."""
    rows = store.features.read(names, end - timedelta(days=7), end, ["open_time", *NAMES], hourly=True)
    known, matrix = drift.correlation(rows)
    if len(known) < 2:
        return {}
    drawn = correlation_heatmap(known, matrix, f"correlation of features, {rows.height:,} rows of 7 days")
    return {"correlation": metadata.picture(drawn, "correlation of features")}
