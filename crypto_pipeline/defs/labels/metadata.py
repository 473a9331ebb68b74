"""What people see of labels: their columns, the figures of each day and parameter set, outcomes and an example."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.partitions import partitions as layout
from crypto_pipeline.labels.parameters import DEFAULT, LOOSE
from crypto_pipeline.labels.stored.checks import example_of
from crypto_pipeline.labels.stored.update import LabelReport
from crypto_pipeline.labels.strategies.base import TIMEFRAME, Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.ops.charts import labels as label_charts
from crypto_pipeline.store import Store


def column_schema(strategy: Strategy) -> dg.TableSchema:
    """Columns of the labels of one strategy with what they mean."""
    table = strategy.definition.table
    columns = [(name, str(dtype), table.meanings[name]) for name, dtype in table.stored_schema.items()]
    return metadata.table_schema(columns, "(instrument, signal_ts, params_hash)")


def materialization(
    store: Store,
    strategy: Strategy,
    sets: dict[str, Parameters],
    reports: dict[str, LabelReport],
    partitions: Mapping[str, tuple[datetime, datetime]],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Metadata of the run, and by key those of each partition (in order of time). The last one has the pictures."""
    (start, _), *_, (_, end) = *partitions.values(), *partitions.values()
    run: dict[str, Any] = {
        "parameters": {name: parameters.hash for name, parameters in sets.items()},
        "computed": metadata.table(pl.DataFrame([_counts(name, report) for name, report in reports.items()])),
    }
    if strategy.definition.uses_benchmark:
        run["benchmark"] = reports[next(iter(reports))].benchmark or "none: no setups"
    own: dict[str, dict[str, Any]] = {
        key: {"dagster/row_count": 0, "span": metadata.span_text(*window)} for key, window in partitions.items()
    }
    for name, parameters in sets.items():
        suffix = "" if name == DEFAULT else f"_{name}"
        labels = store.labels.read(strategy.definition.table, parameters.hash, start, end)
        cells = store.labels.cells(strategy, parameters.hash, start, end)
        for key, (first, _) in partitions.items():
            of_day = labels.filter(pl.col("signal_ts").dt.date() == first.date())
            figures = _of_day(of_day, cells.filter(pl.col("day") == first.date()))
            own[key]["dagster/row_count"] += of_day.height
            own[key] |= {f"{what}{suffix}": value for what, value in figures.items()}
        if name == LOOSE:  # it ends as the default set does; the pictures are of what is traded
            continue
        history = store.labels.read(strategy.definition.table, parameters.hash, layout().history_day, end)
        drawn = pictures(store, strategy, history, of_day)
        own[key] |= {f"{what}{suffix}": value for what, value in drawn.items()}
    return run, own


def _of_day(labels: pl.DataFrame, cells: pl.DataFrame) -> dict[str, Any]:
    """Figures of one day of signals and one parameter set."""
    outcomes = dict(labels.group_by("outcome").len().iter_rows())
    found: dict[str, Any] = {
        "instruments": cells.height,
        "setups": int(cells["setups"].sum()),
        "labels": labels.height,
        "waiting": int(cells["waiting"].sum()),
        "take_profit": outcomes.get("TP", 0),
        "stop_loss": outcomes.get("SL", 0),
        "time": outcomes.get("TIME", 0),
    }
    mean = labels["net_return"].mean()
    return found | ({"mean_net_return": mean} if isinstance(mean, float) else {})


def _counts(name: str, report: LabelReport) -> dict[str, Any]:
    written = report.written
    return {
        "set": name,
        "instrument_days": report.cells,
        "new": report.new,
        "stale": report.stale,
        "waited": report.waited,
        "setups": report.setups,
        "labels": report.labels,
        "waiting": report.waiting,
        "inserted": written.inserted,
        "superseded": written.superseded,
        "withdrawn": written.withdrawn,
    }


def pictures(store: Store, strategy: Strategy, history: pl.DataFrame, day: pl.DataFrame) -> dict[str, Any]:
    """Outcomes by tier and month of all labels, and an example: of the day, or else the newest before it."""
    if history.is_empty():
        return {}
    shown: dict[str, Any] = {"outcomes": metadata.picture(label_charts.outcomes(history, str(strategy)), "outcomes")}
    row = example_of(day) or example_of(history)
    if row is not None:
        signal, end = row["signal_ts"], row["label_end_ts"]
        assert isinstance(signal, datetime)
        assert isinstance(end, datetime)
        instrument, width = str(row["instrument"]), TIMEFRAME.delta
        bars = store.reader.read([instrument], TIMEFRAME, signal - width * 100, end + width * 20)
        if bars.height:
            title = f"{instrument} {str(strategy).upper()}"
            shown["example"] = metadata.picture(label_charts.example(bars, width, row, title), "example setup")
    return shown
